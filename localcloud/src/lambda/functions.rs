//! Creating, changing, listing and deleting functions.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use super::code::{self, CodeFolder, CodeInfo};
use super::events::EventSettings;
use super::function::{self, Function, FunctionConfiguration};
use super::{Entry, Lambda, LambdaError};

impl Lambda {
    pub(super) async fn create_function(&self, request: Value) -> Result<Value, LambdaError> {
        let settings = settings(request.clone())?;
        let name = settings.function_name.clone().unwrap_or_default();
        if self.lock().functions.contains_key(&name) {
            return Err(LambdaError::Conflict(format!(
                "Function already exist: {name}"
            )));
        }
        // The settings are checked before the code is unpacked.
        let placeholder = CodeInfo {
            sha256: String::new(),
            size: 0,
        };
        let mut function = Function::new(settings, &self.region, placeholder)?;
        self.check_role(&function)?;
        let (folder, info) = self.unpack(&request["Code"]).await?;
        function.code = info;
        self.stamp(&mut function);
        let shown = function.json();
        let entry = Entry {
            function,
            code: folder,
            idle: Vec::new(),
            running: 0,
            reserved: None,
            events: EventSettings::default(),
            policy: Vec::new(),
            url: None,
        };
        let mut state = self.lock();
        if state.functions.contains_key(&name) {
            return Err(LambdaError::Conflict(format!(
                "Function already exist: {name}"
            )));
        }
        state.functions.insert(name, entry);
        Ok(shown)
    }

    pub(super) async fn update_code(
        &self,
        name: &str,
        request: &Value,
    ) -> Result<Value, LambdaError> {
        self.with(name, |entry| check_revision(&entry.function, request))?;
        let (folder, info) = self.unpack(request).await?;
        let (shown, idle) = self.with(name, |entry| {
            check_revision(&entry.function, request)?;
            if request["DryRun"] == true {
                let mut changed = entry.function.clone();
                changed.code = info;
                return Ok((changed.json(), Vec::new()));
            }
            entry.function.code = info;
            entry.code = folder;
            self.stamp(&mut entry.function);
            Ok((entry.function.json(), std::mem::take(&mut entry.idle)))
        })?;
        self.end_all(idle).await;
        Ok(shown)
    }

    pub(super) async fn update_configuration(
        &self,
        name: &str,
        request: Value,
    ) -> Result<Value, LambdaError> {
        let settings = settings(request.clone())?;
        let (shown, idle) = self.with(name, |entry| {
            check_revision(&entry.function, &request)?;
            let mut changed = entry.function.clone();
            let has_new_role = settings.role.is_some();
            changed.configure(settings)?;
            if has_new_role {
                self.check_role(&changed)?;
            }
            self.stamp(&mut changed);
            entry.function = changed;
            Ok((entry.function.json(), std::mem::take(&mut entry.idle)))
        })?;
        self.end_all(idle).await;
        Ok(shown)
    }

    pub(super) async fn delete_function(&self, name: &str) -> Result<(), LambdaError> {
        let removed = self.lock().functions.remove(name);
        let arn = function::arn(&self.region, name);
        let entry = removed.ok_or_else(|| LambdaError::function_not_found(&arn))?;
        self.lock()
            .event_source_mappings
            .retain(|_, mapping| mapping.function != name);
        self.end_all(entry.idle).await;
        Ok(())
    }

    pub(super) fn list_functions(&self, query: &BTreeMap<String, String>) -> Value {
        let most = query
            .get("MaxItems")
            .and_then(|it| it.parse().ok())
            .unwrap_or(50_usize);
        let after = query.get("Marker").cloned().unwrap_or_default();
        let state = self.lock();
        let mut names = state
            .functions
            .range(after.clone()..)
            .filter(|(name, _)| **name != after);
        let page: Vec<_> = names.by_ref().take(most.clamp(1, 50)).collect();
        let more = names.next().is_some();
        let shown: Vec<_> = page
            .iter()
            .map(|(_, entry)| entry.function.json())
            .collect();
        let mut reply = json!({ "Functions": shown });
        if let (true, Some((last, _))) = (more, page.last()) {
            reply["NextMarker"] = last.as_str().into();
        }
        reply
    }

    pub(super) fn account_settings(&self) -> Value {
        let state = self.lock();
        let sizes = state
            .functions
            .values()
            .map(|entry| entry.function.code.size);
        let reserved = state
            .functions
            .values()
            .filter_map(|entry| entry.reserved.as_ref());
        let reserved: usize = reserved.map(|(reserved, _)| reserved).sum();
        json!({
            "AccountLimit": {
                "TotalCodeSize": 80_530_636_800_u64,
                "CodeSizeUnzipped": 262_144_000,
                "CodeSizeZipped": 52_428_800,
                "ConcurrentExecutions": self.config.concurrency,
                "UnreservedConcurrentExecutions": self.config.concurrency.saturating_sub(reserved),
            },
            "AccountUsage": { "TotalCodeSize": sizes.sum::<usize>(), "FunctionCount": state.functions.len() },
        })
    }

    /// Checks that a function's role exists: without one, the function gets the key of the account.
    fn check_role(&self, function: &Function) -> Result<(), LambdaError> {
        if !self.iam.lacks(&function.role) {
            return Ok(());
        }
        let message = "The role defined for the function cannot be assumed by Lambda.";
        Err(LambdaError::InvalidParameter(message.to_owned()))
    }

    /// Unpacks the code that a request has or names, into a new folder.
    async fn unpack(&self, code: &Value) -> Result<(Arc<CodeFolder>, CodeInfo), LambdaError> {
        let (zip, from_request) = match (code["ZipFile"].as_str(), code["S3Bucket"].as_str()) {
            (Some(zip), _) => {
                let zip = BASE64_STANDARD.decode(zip);
                let wrong =
                    |_| LambdaError::InvalidRequestContent("ZipFile is not Base64".to_owned());
                (zip.map_err(wrong)?, true)
            }
            (None, Some(bucket)) => {
                let key = code["S3Key"].as_str().unwrap_or_default();
                let object = self
                    .objects
                    .get()
                    .and_then(|objects| objects.read(bucket, key));
                let missing = || {
                    LambdaError::InvalidParameter(format!(
                        "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: there is no object {key} in the bucket {bucket}"
                    ))
                };
                (object.ok_or_else(missing)?, false)
            }
            (None, None) => {
                let message = "Please provide a source for function code.";
                return Err(LambdaError::InvalidParameter(message.to_owned()));
            }
        };
        let folder = CodeFolder::new(self.folder.join(Uuid::new_v4().simple().to_string()));
        let unpacked = tokio::task::spawn_blocking(move || {
            let info = code::unpack(&zip, folder.path(), from_request)?;
            Ok::<_, LambdaError>((Arc::new(folder), info))
        });
        let failed = |_| LambdaError::Service("the code cannot be unpacked".to_owned());
        unpacked.await.map_err(failed)?
    }
}

/// Checks that a change is meant for the present revision of a function, if the request names one.
fn check_revision(function: &Function, request: &Value) -> Result<(), LambdaError> {
    match request["RevisionId"].as_str() {
        Some(revision) if revision != function.revision_id() => Err(LambdaError::WrongRevision),
        _ => Ok(()),
    }
}

fn settings(request: Value) -> Result<FunctionConfiguration, LambdaError> {
    serde_json::from_value(request)
        .map_err(|error| LambdaError::InvalidRequestContent(error.to_string()))
}

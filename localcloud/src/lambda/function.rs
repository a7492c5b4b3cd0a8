//! What a function is: its configuration, as the API takes and shows it. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::LambdaError;
use super::code::CodeInfo;
use crate::account::ACCOUNT_ID;

const RUNTIMES: [&str; 3] = ["provided.al2023", "provided.al2", "provided"];
/// AWS's limit on the names and values of a function's environment, in bytes.
const MAX_ENVIRONMENT: usize = 4096;

/// The settings of CreateFunction and UpdateFunctionConfiguration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FunctionConfiguration {
    pub function_name: Option<String>,
    pub description: Option<String>,
    pub runtime: Option<String>,
    pub role: Option<String>,
    pub handler: Option<String>,
    pub timeout: Option<u64>,
    pub memory_size: Option<u64>,
    pub environment: Option<Environment>,
    pub ephemeral_storage: Option<EphemeralStorage>,
    pub dead_letter_config: Option<DeadLetterConfig>,
    pub architectures: Option<Vec<String>>,
    pub package_type: Option<String>,
    pub tags: Option<BTreeMap<String, String>>,
    pub layers: Option<Vec<String>>,
    pub file_system_configs: Option<Vec<Value>>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Environment {
    pub variables: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EphemeralStorage {
    pub size: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DeadLetterConfig {
    pub target_arn: Option<String>,
}

/// A function's configuration.
#[derive(Debug, Clone)]
pub struct Function {
    pub name: String,
    pub arn: String,
    pub description: String,
    pub runtime: String,
    pub role: String,
    pub handler: String,
    /// Seconds.
    pub timeout: u64,
    /// MB.
    pub memory_size: u64,
    pub environment: Environment,
    pub ephemeral_storage: EphemeralStorage,
    pub dead_letter: Option<String>,
    pub architectures: Vec<String>,
    pub tags: BTreeMap<String, String>,
    pub code: CodeInfo,
    /// Changes with code and configuration: environments of an older one end.
    pub revision: u64,
    /// As the API writes times.
    pub last_modified: String,
}

impl Function {
    /// Makes a function from the settings of CreateFunction.
    ///
    /// # Errors
    /// When a setting is missing or not valid.
    pub fn new(
        settings: FunctionConfiguration,
        region: &str,
        code: CodeInfo,
    ) -> Result<Self, LambdaError> {
        let name = settings.function_name.clone().unwrap_or_default();
        check_name(&name)?;
        let required = |value: &Option<String>, what: &str| {
            let missing =
                || LambdaError::InvalidParameter(format!("{what} is required for a zip file"));
            value.clone().ok_or_else(missing)
        };
        let mut function = Self {
            arn: arn(region, &name),
            name,
            description: String::new(),
            runtime: required(&settings.runtime, "Runtime")?,
            role: required(&settings.role, "Role")?,
            handler: required(&settings.handler, "Handler")?,
            timeout: 3,
            memory_size: 128,
            environment: Environment::default(),
            ephemeral_storage: EphemeralStorage { size: 512 },
            dead_letter: None,
            architectures: vec![architecture().to_owned()],
            tags: settings.tags.clone().unwrap_or_default(),
            code,
            revision: 0,
            last_modified: String::new(),
        };
        function.configure(settings)?;
        Ok(function)
    }

    /// Changes what the settings name.
    ///
    /// # Errors
    /// When a setting is not valid. The function may be changed in part then.
    pub fn configure(&mut self, settings: FunctionConfiguration) -> Result<(), LambdaError> {
        if settings.package_type.is_some_and(|kind| kind != "Zip") {
            let message = "localcloud runs functions of zip files alone; give PackageType Zip";
            return Err(LambdaError::InvalidParameter(message.to_owned()));
        }
        if settings.layers.is_some_and(|layers| !layers.is_empty()) {
            let message = "localcloud has no layers; put their files into the function's zip";
            return Err(LambdaError::InvalidParameter(message.to_owned()));
        }
        let disks = settings.file_system_configs;
        if disks.is_some_and(|disks| !disks.is_empty()) {
            let message = "localcloud mounts no file systems; give no FileSystemConfigs";
            return Err(LambdaError::InvalidParameter(message.to_owned()));
        }
        if let Some(runtime) = settings.runtime {
            if !RUNTIMES.contains(&runtime.as_str()) {
                return Err(LambdaError::InvalidParameter(format!(
                    "Value {runtime} at 'runtime' is not supported by localcloud, which runs {}",
                    RUNTIMES.join(", ")
                )));
            }
            self.runtime = runtime;
        }
        if let Some(role) = settings.role {
            if !role.starts_with("arn:aws:iam::") || !role.contains(":role/") {
                return Err(LambdaError::Validation(format!(
                    "1 validation error detected: Value '{role}' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\\d{{12}}:role/?[a-zA-Z_0-9+=,.@\\-_/]+"
                )));
            }
            self.role = role;
        }
        set_within(&mut self.timeout, settings.timeout, "timeout", 1..=900)?;
        set_within(
            &mut self.memory_size,
            settings.memory_size,
            "memorySize",
            128..=10_240,
        )?;
        if let Some(storage) = settings.ephemeral_storage {
            set_within(
                &mut self.ephemeral_storage.size,
                Some(storage.size),
                "ephemeralStorage",
                512..=10_240,
            )?;
        }
        if let Some(environment) = settings.environment {
            check_environment(&environment)?;
            self.environment = environment;
        }
        if let Some(architectures) = settings.architectures {
            if architectures != [architecture()] {
                return Err(LambdaError::InvalidParameter(format!(
                    "localcloud runs functions on this machine, which is {}",
                    architecture()
                )));
            }
            self.architectures = architectures;
        }
        if let Some(dead_letter) = settings.dead_letter_config {
            self.dead_letter = dead_letter.target_arn.filter(|arn| !arn.is_empty());
        }
        for (setting, value) in [
            (&mut self.handler, settings.handler),
            (&mut self.description, settings.description),
        ] {
            if let Some(value) = value {
                *setting = value;
            }
        }
        Ok(())
    }

    /// Returns the configuration as the API shows it.
    pub fn json(&self) -> Value {
        let mut shown = json!({
            "FunctionName": self.name,
            "FunctionArn": self.arn,
            "Runtime": self.runtime,
            "Role": self.role,
            "Handler": self.handler,
            "CodeSize": self.code.size,
            "CodeSha256": self.code.sha256,
            "Description": self.description,
            "Timeout": self.timeout,
            "MemorySize": self.memory_size,
            "LastModified": self.last_modified,
            "Version": "$LATEST",
            "Environment": self.environment,
            "TracingConfig": { "Mode": "PassThrough" },
            "RevisionId": self.revision_id(),
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "PackageType": "Zip",
            "Architectures": self.architectures,
            "EphemeralStorage": self.ephemeral_storage,
            "SnapStart": { "ApplyOn": "None", "OptimizationStatus": "Off" },
            "LoggingConfig": { "LogFormat": "Text", "LogGroup": self.log_group() },
        });
        if let Some(target) = &self.dead_letter {
            shown["DeadLetterConfig"] = json!({ "TargetArn": target });
        }
        shown
    }

    /// Returns the revision in the form of a UUID.
    pub fn revision_id(&self) -> String {
        format!("00000000-0000-4000-8000-{:012x}", self.revision)
    }

    pub fn log_group(&self) -> String {
        format!("/aws/lambda/{}", self.name)
    }
}

/// Returns the name of a function that a call names by its name, its ARN or a part of it, with or without a version.
pub fn name_of(text: &str) -> &str {
    let mut parts = text.split(':');
    match text.split(':').position(|part| part == "function") {
        Some(before) => parts.nth(before + 1).unwrap_or_default(),
        None => parts.next().unwrap_or_default(),
    }
}

pub fn arn(region: &str, name: &str) -> String {
    format!("arn:aws:lambda:{region}:{ACCOUNT_ID}:function:{name}")
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "x86_64"
    }
}

fn check_name(name: &str) -> Result<(), LambdaError> {
    let is_valid = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it));
    if is_valid {
        return Ok(());
    }
    Err(LambdaError::Validation(format!(
        "1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9-_]{{1,64}}"
    )))
}

fn check_environment(environment: &Environment) -> Result<(), LambdaError> {
    let sizes = environment
        .variables
        .iter()
        .map(|(name, value)| name.len() + value.len());
    if sizes.sum::<usize>() > MAX_ENVIRONMENT {
        return Err(LambdaError::InvalidParameter(format!(
            "Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the {} limit.",
            "4KB"
        )));
    }
    let is_name = |name: &str| {
        name.starts_with(|it: char| it.is_ascii_alphabetic())
            && name
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || it == b'_')
    };
    let wrong = environment
        .variables
        .iter()
        .find(|(name, value)| !is_name(name) || value.contains('\0'));
    match wrong {
        Some((name, _)) => Err(LambdaError::Validation(format!(
            "the environment variable {name:?} has no valid name or value"
        ))),
        None => Ok(()),
    }
}

fn set_within(
    setting: &mut u64,
    value: Option<u64>,
    name: &str,
    range: std::ops::RangeInclusive<u64>,
) -> Result<(), LambdaError> {
    let Some(value) = value else { return Ok(()) };
    if !range.contains(&value) {
        let bound = if value < *range.start() {
            format!("greater than or equal to {}", range.start())
        } else {
            format!("less than or equal to {}", range.end())
        };
        return Err(LambdaError::Validation(format!(
            "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: Member must have value {bound}"
        )));
    }
    *setting = value;
    Ok(())
}

//! `gateway keys`: edits the API key file that gateway, front and scaler read.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use platform::access::{Key, Keys, Role};

/// Makes, lists and removes API keys.
#[derive(Debug, Clone, clap::Args)]
pub struct KeysArgs {
    /// API key file. Services reload it within a second
    #[arg(
        long,
        env = "MUSTER_API_KEYS",
        value_name = "FILE",
        global = true,
        default_value = "api-keys.toml"
    )]
    api_keys: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Command {
    /// Make a key and print it, this once: the file holds only its digest
    Add {
        /// Name of the key: lower-case letters, digits and hyphens
        name: String,
        /// Roles of the key, separated by commas
        #[arg(
            long = "role",
            value_name = "ROLE",
            value_delimiter = ',',
            default_value = "recognize"
        )]
        roles: Vec<Role>,
        /// Calls a second that each service process accepts [default: no limit]
        #[arg(long, value_name = "CALLS")]
        rate: Option<f64>,
    },
    /// List the keys: name, roles, rate, time of creation
    List,
    /// Remove a key. Services refuse it within a second
    Remove {
        /// Name of the key
        name: String,
    },
}

impl KeysArgs {
    /// Runs the command, and prints to `output`.
    ///
    /// # Errors
    /// When the file cannot be read or written, or the name is invalid.
    pub fn run(&self, output: &mut impl Write) -> anyhow::Result<()> {
        let file = &self.api_keys;
        match &self.command {
            Command::Add { name, roles, rate } => {
                // The first key creates the file.
                let mut keys = if file.exists() {
                    Keys::read(file)?
                } else {
                    Keys::default()
                };
                let key = keys.add(name, roles, *rate)?;
                keys.write(file)?;
                writeln!(output, "{}", key.expose())?;
            }
            Command::List => {
                for (name, key) in &Keys::read(file)?.0 {
                    writeln!(output, "{}", line(name, key))?;
                }
            }
            Command::Remove { name } => {
                let mut keys = Keys::read(file)?;
                let removed = keys.0.remove(name);
                removed.with_context(|| {
                    format!(
                        "{} has no key {name}; `gateway keys list` shows the names",
                        file.display()
                    )
                })?;
                keys.write(file)?;
            }
        }
        Ok(())
    }
}

fn line(name: &str, key: &Key) -> String {
    let roles: Vec<_> = key.roles.iter().map(|role| role.name()).collect();
    let rate = key
        .rate
        .map_or("no limit".to_owned(), |rate| format!("{rate}/s"));
    format!("{name:24} {:28} {rate:12} {}", roles.join(","), key.created)
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    #[test]
    fn keys_are_made_listed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.toml");
        let run = |arguments: &[&str]| {
            let command = KeysArgs::augment_args(Command::new("keys"));
            let file = ["keys", "--api-keys", file.to_str().unwrap()];
            let matches = command.try_get_matches_from([&file, arguments].concat())?;
            let mut output = Vec::new();
            KeysArgs::from_arg_matches(&matches)?.run(&mut output)?;
            anyhow::Ok(String::from_utf8(output)?)
        };
        assert!(run(&["list"]).is_err(), "there is no file yet");
        let shown = run(&["add", "shop", "--rate", "2.5"]).unwrap();
        assert!(
            shown.starts_with("muster_shop_") && shown.len() > 70,
            "{shown}"
        );
        run(&["add", "admin", "--role", "operate,recognize"]).unwrap();
        let listed = run(&["list"]).unwrap();
        let lines: Vec<_> = listed.lines().collect();
        assert!(
            lines[0].starts_with("admin ") && lines[0].contains(" recognize,operate "),
            "{listed}"
        );
        assert!(
            lines[1].starts_with("shop ") && lines[1].contains(" 2.5/s "),
            "{listed}"
        );
        assert!(!listed.contains(shown.trim()));
        run(&["remove", "shop"]).unwrap();
        let again = run(&["remove", "shop"]).unwrap_err();
        assert!(again.to_string().contains("has no key shop"), "{again}");
        assert_eq!(run(&["list"]).unwrap().lines().count(), 1);
    }
}

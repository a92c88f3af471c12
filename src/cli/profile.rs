//! Profiles: named accounts and hubs in a file, so that they need not be said each time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::failure::{Failure, Kind};

/// The file: `{"default": "dev", "profiles": {"dev": {"storage": "UseDevelopmentStorage=true", "hub": "Shop"}}}`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profiles {
    /// The one that is used if none is named.
    default: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

/// One account, and perhaps one of its hubs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Profile {
    /// The connection string.
    pub(crate) storage: Option<String>,
    /// The environment variable that has it: a file keeps no secret well.
    storage_variable: Option<String>,
    /// The name of the hub.
    pub(crate) hub: Option<String>,
}

impl Profile {
    /// The profile of this name, which has to be there, or the default one, which need not.
    pub(crate) fn load(name: Option<&str>) -> Result<Self, Failure> {
        let path = path();
        let text = match path.as_deref().map(std::fs::read_to_string) {
            Some(Ok(text)) => text,
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(invalid(path.as_deref(), &error.to_string()));
            }
            Some(Err(_)) | None => String::new(),
        };
        Self::of(&text, name, |variable| std::env::var(variable).ok()).map_err(|words| invalid(path.as_deref(), &words))
    }

    fn of(text: &str, name: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let file = if text.trim().is_empty() {
            Profiles::default()
        } else {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        };
        let Some(name) = name.map(str::to_owned).or(file.default) else { return Ok(Self::default()) };
        let known = file.profiles.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none".to_owned() } else { known };
        let mut profile =
            file.profiles.get(&name).cloned().ok_or_else(|| format!("there is no profile \"{name}\"; there are: {known}"))?;
        if let Some(of) = &profile.storage_variable {
            let value = variable(of).filter(|value| !value.trim().is_empty());
            profile.storage = Some(value.ok_or_else(|| format!("the variable {of} of the profile \"{name}\" is not set"))?);
        }
        Ok(profile)
    }
}

/// Where the file is: `TASKHUB_PROFILES`, else `taskhub/profiles.json` in the configuration of the user.
fn path() -> Option<PathBuf> {
    let of = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    of("TASKHUB_PROFILES").or_else(|| {
        let configuration = of("XDG_CONFIG_HOME").or_else(|| of("APPDATA")).or_else(|| Some(of("HOME")?.join(".config")))?;
        Some(configuration.join("taskhub").join("profiles.json"))
    })
}

fn invalid(path: Option<&Path>, words: &str) -> Failure {
    let path = path.map_or_else(|| "nowhere, because no variable says where it is".to_owned(), |path| path.display().to_string());
    Failure::new(Kind::Invalid, format!("the file of profiles ({path}): {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{ "default": "dev", "profiles": {
        "dev": { "storage": "UseDevelopmentStorage=true", "hub": "Shop" },
        "prod": { "storageVariable": "PROD", "hub": "Shop" } } }"#;

    #[test]
    fn a_profile_is_named_or_the_default_and_may_leave_its_secret_to_a_variable() {
        let load = |text, name| {
            Profile::of(text, name, |variable| Some(format!("value of {variable}")).filter(|_| variable == "PROD"))
                .map(|profile| (profile.storage.unwrap_or_default(), profile.hub.unwrap_or_default()))
        };
        let of = |storage: &str, hub: &str| Ok((storage.to_owned(), hub.to_owned()));
        assert_eq!(load("", None), of("", ""));
        assert_eq!(load(FILE, None), of("UseDevelopmentStorage=true", "Shop"));
        assert_eq!(load(FILE, Some("prod")), of("value of PROD", "Shop"));
        assert_eq!(load(FILE, Some("test")), Err("there is no profile \"test\"; there are: dev, prod".to_owned()));
        assert_eq!(load("", Some("dev")), Err("there is no profile \"dev\"; there are: none".to_owned()));
        assert!(load(r#"{ "profile": {} }"#, None).unwrap_err().contains("unknown field `profile`"));
        let unset = Profile::of(FILE, Some("prod"), |_| None).unwrap_err();
        assert_eq!(unset, "the variable PROD of the profile \"prod\" is not set");
    }
}

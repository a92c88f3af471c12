//! Connection strings: everything .NET takes, in any order and case, with errors that name the key and never print a value.

use std::collections::BTreeMap;

use azure_core::Url;
use azure_storage::clients::{EMULATOR_ACCOUNT, EMULATOR_ACCOUNT_KEY};
use azure_storage::prelude::StorageCredentials;
use base64::Engine as _;

use super::account::Account;
use super::exchange::TimeLimits;
use crate::storage::Storage;
use crate::storage::error::{CONNECT, Error, ErrorKind, Result};

/// Where copies of a connection string come from.
const REMEDY: &str = "copy the whole connection string from the storage account's \"Access keys\" page, \
                      or use UseDevelopmentStorage=true for Azurite";

impl Storage {
    /// The account that an Azure Storage connection string names. Nothing is sent until the first call.
    ///
    /// Understood, with keys in any order and case: `UseDevelopmentStorage=true` (Azurite on its own ports unless the keys below say
    /// otherwise, with `DevelopmentStorageProxyUri` for another host), `AccountName` with `AccountKey` or `SharedAccessSignature`,
    /// `DefaultEndpointsProtocol` (https unless said otherwise), `EndpointSuffix`, and `BlobEndpoint`, `QueueEndpoint` and
    /// `TableEndpoint`, which win over everything else. Other keys are ignored.
    ///
    /// ```
    /// # fn main() -> Result<(), taskhub::StorageError> {
    /// let azurite = taskhub::Storage::connect("UseDevelopmentStorage=true")?;
    /// let account = taskhub::Storage::connect("AccountName=me;AccountKey=bm90IGEga2V5;EndpointSuffix=core.windows.net")?;
    /// # let _ = (azurite, account);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Invalid` if the string lacks a key that is needed, names one twice, or holds a value of the wrong form. The message
    /// names the key and the remedy, and never a value.
    pub fn connect(connection_string: &str) -> Result<Self> {
        account(connection_string)?.open(TimeLimits::default())
    }
}

pub(super) fn account(connection_string: &str) -> Result<Account> {
    let settings = Settings::parse(connection_string)?;
    if let Some(flag) = settings.get("UseDevelopmentStorage") {
        if !flag.eq_ignore_ascii_case("true") {
            return Err(invalid("UseDevelopmentStorage can only be true; leave it out for a real account"));
        }
        return settings.development();
    }
    let endpoint = |service| settings.endpoint(service);
    let (blob, queue, table) = (endpoint("Blob")?, endpoint("Queue")?, endpoint("Table")?);
    let name = settings.get("AccountName").unwrap_or_default().to_owned();
    Ok(Account { name, blob, queue, table, credentials: settings.credentials()? })
}

/// Keys in lower case and their values. No `Debug`: values are secrets.
struct Settings(BTreeMap<String, String>);

impl Settings {
    fn parse(text: &str) -> Result<Self> {
        check_wrapping(text.trim())?;
        let mut settings = BTreeMap::new();
        for (index, part) in text.split(';').map(str::trim).enumerate().filter(|(_, part)| !part.is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(invalid(format!("part {} is not of the form Key=Value; {REMEDY}", index + 1)));
            };
            let key = key.trim();
            if settings.insert(key.to_ascii_lowercase(), value.trim().to_owned()).is_some() {
                return Err(invalid(format!("{key} is named twice; leave one of the two out")));
            }
        }
        if settings.is_empty() { Err(invalid(format!("it is empty; {REMEDY}"))) } else { Ok(Self(settings)) }
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(&key.to_ascii_lowercase()).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Azurite's account on its own ports, unless endpoints, name or key are given.
    fn development(&self) -> Result<Account> {
        let name = self.get("AccountName").unwrap_or(EMULATOR_ACCOUNT);
        let proxy = self.get("DevelopmentStorageProxyUri").unwrap_or("http://127.0.0.1");
        let proxy = url("DevelopmentStorageProxyUri", proxy)?;
        let endpoint = |service, port| {
            if let Some(explicit) = self.explicit_endpoint(service) {
                return explicit;
            }
            let mut url = proxy.clone();
            // Fails only for a URL without a host, which was refused.
            let _ = url.set_port(Some(port));
            url.set_path(name);
            Ok(url)
        };
        let is_given = ["AccountName", "AccountKey", "SharedAccessSignature"].iter().any(|key| self.get(key).is_some());
        let credentials =
            if is_given { self.credentials()? } else { StorageCredentials::access_key(EMULATOR_ACCOUNT, EMULATOR_ACCOUNT_KEY) };
        let (blob, queue, table) = (endpoint("Blob", 10000)?, endpoint("Queue", 10001)?, endpoint("Table", 10002)?);
        Ok(Account { name: name.to_owned(), blob, queue, table, credentials })
    }

    /// An endpoint that is given, which wins over everything else.
    fn explicit_endpoint(&self, service: &str) -> Option<Result<Url>> {
        let key = format!("{service}Endpoint");
        self.get(&key).map(|explicit| url(&key, explicit))
    }

    fn endpoint(&self, service: &str) -> Result<Url> {
        if let Some(explicit) = self.explicit_endpoint(service) {
            return explicit;
        }
        let Some(name) = self.get("AccountName") else {
            return Err(invalid(format!("AccountName is missing, and so is {service}Endpoint; {REMEDY}")));
        };
        let protocol = self.get("DefaultEndpointsProtocol").unwrap_or("https");
        let suffix = self.get("EndpointSuffix").unwrap_or("core.windows.net");
        let host = format!("{name}.{}.{suffix}", service.to_ascii_lowercase());
        url("AccountName, DefaultEndpointsProtocol or EndpointSuffix", &format!("{protocol}://{host}"))
    }

    fn credentials(&self) -> Result<StorageCredentials> {
        if let Some(signature) = self.get("SharedAccessSignature") {
            let has_signature = signature.trim_start_matches('?').split('&').any(|pair| pair.starts_with("sig="));
            let credentials = StorageCredentials::sas_token(signature).ok().filter(|_| has_signature);
            return credentials.ok_or_else(|| invalid("SharedAccessSignature has no \"sig\" part; generate it again"));
        }
        let Some(key) = self.get("AccountKey") else {
            return Err(invalid(format!("AccountKey is missing, and so is SharedAccessSignature; {REMEDY}")));
        };
        let Some(name) = self.get("AccountName") else {
            return Err(invalid(format!("AccountName is missing; requests are signed with it; {REMEDY}")));
        };
        if base64::engine::general_purpose::STANDARD.decode(key).is_err() {
            return Err(invalid("AccountKey is not base64, so it was cut or mistyped; copy it again"));
        }
        Ok(StorageCredentials::access_key(name.to_owned(), key.to_owned()))
    }
}

/// What editors and shells leave around a text is told apart from what is wrong with the text itself.
fn check_wrapping(text: &str) -> Result<()> {
    if text.starts_with('\u{feff}') {
        return Err(invalid("it begins with a byte order mark, which some editors write; save the text without"));
    }
    let is_quote = |c: char| matches!(c, '"' | '\'' | '`' | '\u{201c}' | '\u{201d}' | '\u{2018}' | '\u{2019}');
    if text.starts_with(is_quote) || text.ends_with(is_quote) {
        return Err(invalid("there is a quotation mark around it, which is not part of it; leave the quotes away"));
    }
    Ok(())
}

/// An endpoint without a slash at its end, as .NET writes it before a container's name.
pub(super) fn url(key: &str, text: &str) -> Result<Url> {
    let parsed = Url::parse(text.trim_end_matches('/')).ok();
    let usable = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none();
    parsed.filter(usable).ok_or_else(|| invalid(format!("{key} does not give an http or https URL without a query")))
}

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, CONNECT, "the connection string").with_message(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "c2VjcmV0";

    fn endpoints(text: &str) -> [String; 3] {
        let account = account(text).unwrap();
        [account.blob, account.queue, account.table].map(|url| url.to_string().trim_end_matches('/').to_owned())
    }

    fn azurite_default() -> [String; 3] {
        ["10000", "10001", "10002"].map(|port| format!("http://127.0.0.1:{port}/devstoreaccount1"))
    }

    #[test]
    fn endpoints_are_those_of_dotnet() {
        let azurite = azurite_default();
        assert_eq!(endpoints("UseDevelopmentStorage=true"), azurite);
        assert_eq!(endpoints(" usedevelopmentstorage=TRUE; "), azurite);
        let proxied = azurite.map(|url| url.replace("127.0.0.1", "azurite"));
        assert_eq!(endpoints("UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite/"), proxied);
        let given = "UseDevelopmentStorage=true;QueueEndpoint=http://azurite:7/devstoreaccount1/;BlobEndpoint=http://h:1/devstoreaccount1";
        let [_, _, table] = azurite_default();
        let [blob, queue] = ["http://h:1/devstoreaccount1", "http://azurite:7/devstoreaccount1"].map(str::to_owned);
        assert_eq!(endpoints(given), [blob, queue, table]);
        let own = account(&format!("UseDevelopmentStorage=true;AccountName=me;AccountKey={KEY}")).unwrap();
        assert_eq!((own.name.as_str(), own.table.as_str()), ("me", "http://127.0.0.1:10002/me"));
        let public = ["blob", "queue", "table"].map(|service| format!("https://me.{service}.core.windows.net"));
        assert_eq!(endpoints(&format!("AccountName=me;AccountKey={KEY}")), public);
        let china = ["blob", "queue", "table"].map(|service| format!("http://me.{service}.core.chinacloudapi.cn"));
        let text =
            "DefaultEndpointsProtocol=http;AccountName=me;Authentication=x;EndpointSuffix=core.chinacloudapi.cn;accountkey=";
        assert_eq!(endpoints(&format!("{text}{KEY}")), china);
        let text = "BlobEndpoint=http://h:1/a;QueueEndpoint=http://h:2/a/;TableEndpoint=http://h:3/a;SharedAccessSignature=?sv=1&sig=a%3D";
        assert_eq!(endpoints(text), ["http://h:1/a", "http://h:2/a", "http://h:3/a"]);
    }

    #[test]
    fn a_container_has_the_url_of_dotnet() {
        let check =
            |text: &str, expected| assert_eq!(Storage::connect(text).unwrap().blobs.container_url("hub-leases"), expected);
        check("UseDevelopmentStorage=true", "http://127.0.0.1:10000/devstoreaccount1/hub-leases");
        check(&format!("AccountName=Me;AccountKey={KEY}"), "https://me.blob.core.windows.net/hub-leases");
    }

    #[test]
    fn an_error_names_the_key_and_no_value() {
        let check = |text: &str, word: &str| {
            let error = account(text).map(drop).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("secret"), "{text}: {error}");
        };
        check("", "empty");
        check("secret", "Key=Value");
        check("AccountName=secret", "AccountKey is missing");
        check("AccountKey=c2VjcmV0", "AccountName is missing");
        check("AccountName=a;AccountKey=secret!", "AccountKey is not base64");
        check("AccountName=a;AccountName=secret;AccountKey=c2VjcmV0", "AccountName is named twice");
        check("AccountName=a;SharedAccessSignature=secret", "SharedAccessSignature");
        check("BlobEndpoint=secret;AccountKey=c2VjcmV0", "BlobEndpoint");
        check("UseDevelopmentStorage=secret", "UseDevelopmentStorage");
        check("UseDevelopmentStorage=true;TableEndpoint=secret", "TableEndpoint");
        check("\"UseDevelopmentStorage=true\"", "leave the quotes away");
        check(" 'AccountName=a;AccountKey=c2VjcmV0'\n", "leave the quotes away");
        check("AccountName=a;AccountKey=c2VjcmV0\u{201d}", "leave the quotes away");
        check("\u{feff}AccountName=a;AccountKey=c2VjcmV0", "byte order mark");
        check("BlobEndpoint=http://h/a;AccountName=a b;AccountKey=c2VjcmV0", "AccountName");
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let account = account("AccountName=me;AccountKey=c2VjcmV0a2V5").unwrap();
        let shown = format!("{account:?}");
        assert!(!shown.contains("c2VjcmV0a2V5") && !shown.contains("secretkey"), "{shown}");
    }
}

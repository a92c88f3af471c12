//! Microsoft Entra ID: today's credentials behind the trait of the storage crates, refreshed while the old token still serves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::auth::{AccessToken, TokenCredential};
use azure_core_identity::credentials::TokenCredential as NewCredential;
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use azure_storage::StorageCredentials;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::account::Account;
use super::config::url;
use super::exchange::TimeLimits;
use super::failure::Failure;
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::storage::Storage;
use crate::storage::error::{CONNECT, Error, ErrorKind, Result};

/// A token is renewed when it has less than this left. The credentials hand out their own cached token until five minutes before
/// its end, so asking earlier would change nothing.
const RENEW_BEFORE: Duration = Duration::from_secs(290);
/// A token is not used for a request when it has less than this left.
const EXPIRED_BEFORE: Duration = Duration::from_secs(30);
/// Longest wait for a token where there is none to serve.
const TOKEN_WAIT: Duration = Duration::from_secs(30);
/// Rest after a failed renewal while the old token still serves.
const RENEW_REST: Duration = Duration::from_secs(20);

/// Who we are to Microsoft Entra ID.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntraIdentity {
    /// The managed identity of the machine, app or container; the user-assigned one with that client id, if one is given.
    ManagedIdentity {
        /// Client id of a user-assigned identity; `None` for the system-assigned one.
        client_id: Option<String>,
    },
    /// The workload identity of a Kubernetes pod, from the environment that its webhook sets.
    WorkloadIdentity {
        /// Client id; `None` for the one in `AZURE_CLIENT_ID`.
        client_id: Option<String>,
    },
    /// Whoever is signed in with the Azure CLI or the Azure Developer CLI.
    DeveloperLogin,
}

impl Storage {
    /// The account of that name, entered with a Microsoft Entra identity instead of a key. Nothing is sent until the first call.
    ///
    /// The identity needs the roles Storage Blob Data Contributor, Storage Queue Data Contributor and Storage Table Data
    /// Contributor. For a cloud other than the public one give the account with its suffix: `name.core.chinacloudapi.cn`.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), taskhub::StorageError> {
    /// use taskhub::{EntraIdentity, Storage};
    /// let storage = Storage::entra("myaccount", &EntraIdentity::ManagedIdentity { client_id: None })?;
    /// # let _ = storage;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Invalid` if the name is no account name, `Denied` if the identity is not configured in this environment.
    pub fn entra(account: &str, identity: &EntraIdentity) -> Result<Self> {
        let (name, suffix) = account.split_once('.').unwrap_or((account, "core.windows.net"));
        let endpoint = |service| url("the account name", &format!("https://{name}.{service}.{suffix}"));
        let (blob, queue, table) = (endpoint("blob")?, endpoint("queue")?, endpoint("table")?);
        let source = credential(identity).map_err(|error| {
            Error::new(ErrorKind::Denied, CONNECT, format!("the storage account \"{name}\""))
                .with_message(format!("{identity:?} is not available: {error}"))
        })?;
        let credentials = StorageCredentials::token_credential(Arc::new(Renewing::new(source, Clock::system())));
        Account { name: name.to_owned(), blob, queue, table, credentials }.open(TimeLimits::default())
    }
}

fn credential(identity: &EntraIdentity) -> azure_core_identity::Result<Arc<dyn NewCredential>> {
    Ok(match identity {
        EntraIdentity::ManagedIdentity { client_id } => {
            let user_assigned_id = client_id.clone().map(UserAssignedId::ClientId);
            ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions { user_assigned_id, ..Default::default() }))?
        }
        EntraIdentity::WorkloadIdentity { client_id } => {
            let client_id = client_id.clone();
            WorkloadIdentityCredential::new(Some(WorkloadIdentityCredentialOptions { client_id, ..Default::default() }))?
        }
        EntraIdentity::DeveloperLogin => DeveloperToolsCredential::new(None)?,
    })
}

type Renewal = BoxFuture<'static, std::result::Result<AccessToken, Failure>>;

/// A credential whose callers do not wait for a renewal. No task and no thread: every call moves the renewal on by one poll.
struct Renewing {
    source: Arc<dyn NewCredential>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<AccessToken>,
    renewal: Option<Renewal>,
    rest_until: Option<Instant>,
}

impl fmt::Debug for Renewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewing").finish_non_exhaustive()
    }
}

impl Renewing {
    fn new(source: Arc<dyn NewCredential>, clock: Clock) -> Self {
        Self { source, clock, state: Mutex::default() }
    }

    async fn token(&self, scopes: &[&str]) -> std::result::Result<AccessToken, Failure> {
        let mut state = self.state.lock().await;
        let serving = state.token.clone().filter(|token| self.left(token) > EXPIRED_BEFORE);
        let Some(token) = serving else {
            let renewal = state.renewal.take().unwrap_or_else(|| self.renewal(scopes));
            let token = tokio::time::timeout(TOKEN_WAIT, renewal)
                .await
                .map_err(|_| Failure::new(ErrorKind::Transient, "no token within 30 seconds"))??;
            state.token = Some(token.clone());
            return Ok(token);
        };
        if self.left(&token) > RENEW_BEFORE || state.rest_until.is_some_and(|until| Instant::now() < until) {
            return Ok(token);
        }
        let mut renewal = state.renewal.take().unwrap_or_else(|| self.renewal(scopes));
        match futures::poll!(&mut renewal) {
            std::task::Poll::Pending => state.renewal = Some(renewal),
            std::task::Poll::Ready(Ok(renewed)) => {
                state.token = Some(renewed.clone());
                return Ok(renewed);
            }
            std::task::Poll::Ready(Err(failure)) => {
                tracing::warn!(%failure, "the access token was not renewed; the old one serves on");
                state.rest_until = Some(Instant::now() + RENEW_REST);
            }
        }
        Ok(token)
    }

    fn left(&self, token: &AccessToken) -> Duration {
        let seconds = u64::try_from(token.expires_on.unix_timestamp()).unwrap_or(0);
        Timestamp::UNIX_EPOCH.plus(Duration::from_secs(seconds)).since(self.clock.now())
    }

    fn renewal(&self, scopes: &[&str]) -> Renewal {
        let source = self.source.clone();
        let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
        async move {
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            let token = source.get_token(&scopes, None).await.map_err(|error| {
                // Nothing was sent to storage; a refusal of Entra ID itself does not go away by trying again.
                let denied = matches!(error.kind(), azure_core_identity::error::ErrorKind::Credential);
                let kind = if denied { ErrorKind::Denied } else { ErrorKind::Transient };
                Failure::new(kind, format!("no access token: {error}"))
            })?;
            Ok(AccessToken::new(token.token.secret().to_owned(), token.expires_on))
        }
        .boxed()
    }
}

#[async_trait]
impl TokenCredential for Renewing {
    async fn get_token(&self, scopes: &[&str]) -> azure_core::Result<AccessToken> {
        self.token(scopes).await.map_err(Failure::into_azure)
    }

    async fn clear_cache(&self) -> azure_core::Result<()> {
        *self.state.lock().await = State::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests;

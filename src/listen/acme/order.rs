//! One order, from the names to the certificate in the folder.

use std::io;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, ExternalAccountKey, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::cache::Cache;
use super::challenge::name_of;
use super::client::Client;
use super::http;
use crate::config::{Acme, Challenge};
use crate::https;

const RETRIES: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// What was kept, or is to be.
    #[error("the folder of tls.acme cannot be used")]
    Cache(#[from] io::Error),
    /// The CA file of the directory.
    #[error(transparent)]
    Setup(#[from] https::SetupError),
    /// The directory cannot be reached, or refuses.
    #[error("the directory {directory}")]
    Directory {
        /// Its URL.
        directory: String,
        /// What it said, or why it did not.
        source: Error,
    },
    /// It does not believe that the names lead here.
    #[error("refused: {0}")]
    Refused(String),
    /// The order took too long.
    #[error("not done within {0:?}")]
    Slow(Duration),
    /// The signing request.
    #[error("no certificate can be asked for")]
    Request(#[from] rcgen::Error),
    /// The account's file.
    #[error("account.json in the folder of tls.acme is damaged; remove it")]
    Account(#[from] serde_json::Error),
}

impl OrderError {
    /// Whether the directory said no, which it counts.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, OrderError::Refused(_) | OrderError::Directory { source: Error::Api(_), .. })
    }
}

/// Orders a certificate, and keeps it. Whoever calls has the lock.
pub(super) async fn order(acme: &Acme, cache: &Cache) -> Result<(), OrderError> {
    let account = account(acme, cache).await?;
    let ordered = certificate(acme, cache, &account).await;
    cache.take_back();
    ordered
}

fn of<'a>(acme: &'a Acme) -> impl Fn(Error) -> OrderError + Copy + 'a {
    move |source| OrderError::Directory { directory: acme.directory.clone(), source }
}

async fn account(acme: &Acme, cache: &Cache) -> Result<Account, OrderError> {
    let client = Client::new(https::connector(acme.ca_file.as_deref())?);
    let builder = Account::builder_with_http(Box::new(client));
    if let Some(kept) = cache.account()? {
        let credentials: AccountCredentials = serde_json::from_slice(&kept)?;
        return builder.from_credentials(credentials).await.map_err(of(acme));
    }
    let contact: Vec<String> = acme.email.iter().map(|email| format!("mailto:{email}")).collect();
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    // Whoever writes `tls.acme` agrees; the documentation says so.
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let external = acme.eab.as_ref().map(|eab| ExternalAccountKey::new(eab.key_id.clone(), &eab.hmac_key()));
    let made = builder.create(&new, acme.directory.clone(), external.as_ref()).await;
    let (account, credentials) = made.map_err(of(acme))?;
    cache.keep_account(&serde_json::to_vec(&credentials)?)?;
    Ok(account)
}

async fn certificate(acme: &Acme, cache: &Cache, account: &Account) -> Result<(), OrderError> {
    let identifiers: Vec<Identifier> = acme.domains.iter().cloned().map(Identifier::Dns).collect();
    let mut order = match account.new_order(&NewOrder::new(&identifiers)).await {
        Err(Error::Api(problem)) if says(problem.r#type.as_deref(), "accountDoesNotExist") => {
            cache.forget_account()?;
            return Err(of(acme)(Error::Api(problem)));
        }
        order => order.map_err(of(acme))?,
    };
    answer(acme, cache, &mut order).await?;
    let status = order.poll_ready(&RETRIES).await.map_err(of(acme))?;
    if status != OrderStatus::Ready && status != OrderStatus::Valid {
        return Err(OrderError::Refused(why(&mut order).await));
    }
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(acme.domains.clone())?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    order.finalize_csr(request.der()).await.map_err(of(acme))?;
    let chain = order.poll_certificate(&RETRIES).await.map_err(of(acme))?;
    Ok(cache.keep(&key.serialize_pem(), &chain)?)
}

/// Puts what answers each challenge where it is found, and says so.
async fn answer(acme: &Acme, cache: &Cache, order: &mut Order) -> Result<(), OrderError> {
    let kind = match acme.challenge {
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Challenge::Http01(_) => ChallengeType::Http01,
    };
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(of(acme))?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let domain = authorization.identifier().to_string();
        let offers = authorization.challenge(kind.clone());
        let mut challenge = offers.ok_or_else(|| OrderError::Refused(format!("{domain}: no challenge {kind:?}")))?;
        let name = match acme.challenge {
            Challenge::TlsAlpn01 => name_of(&domain),
            Challenge::Http01(_) => http::name_of(&challenge.token),
        };
        cache.offer(&name, challenge.key_authorization().as_str())?;
        challenge.set_ready().await.map_err(of(acme))?;
    }
    Ok(())
}

/// What the directory found when it looked.
async fn why(order: &mut Order) -> String {
    let mut said = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(authorization)) = authorizations.next().await {
        let domain = authorization.identifier().to_string();
        let errors = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        said.extend(errors.map(|error| format!("{domain}: {error}")));
    }
    if said.is_empty() { "the order is no longer valid".to_owned() } else { said.join("; ") }
}

fn says(kind: Option<&str>, error: &str) -> bool {
    kind.is_some_and(|kind| kind.rsplit(':').next() == Some(error))
}

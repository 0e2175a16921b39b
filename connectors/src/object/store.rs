//! Object stores by URL. Keys, regions and endpoints come from the usual variables of the environment.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreScheme, RetryConfig, parse_url_opts};
use reqwest::Url;

/// How long what is read is asked for again when the store does not answer.
const PATIENCE: Duration = Duration::from_secs(20);
const RETRIES: usize = 6;

/// Kinds of stores that this build has not.
const LEFT_OUT: &[ObjectStoreScheme] = &[
    #[cfg(not(feature = "gcp"))]
    ObjectStoreScheme::GoogleCloudStorage,
    #[cfg(not(feature = "azure"))]
    ObjectStoreScheme::MicrosoftAzure,
];

/// What of a URL names its store, as `s3://bucket`.
pub fn root_of(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.authority())
}

/// The store of a URL, and the path that the URL leads to within it.
///
/// # Errors
/// Why there is no such store, without what the URL may hold of secrets.
pub fn of_url(url: &Url, retry: Option<RetryConfig>) -> Result<(Arc<dyn ObjectStore>, Path), String> {
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("keys and options come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT, …), not in the URL".into());
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (scheme, path) = ObjectStoreScheme::parse(url).map_err(|e| e.to_string())?;
    if scheme == ObjectStoreScheme::AmazonS3 {
        let builder = AmazonS3Builder::from_env().with_url(url.as_str()).with_retry(retry.unwrap_or_default());
        return Ok((Arc::new(builder.build().map_err(|e| e.to_string())?), path));
    }
    let options = std::env::vars().map(|(key, value)| (key.to_lowercase(), value));
    match parse_url_opts(url, options) {
        Ok((store, path)) => Ok((Arc::from(store), path)),
        Err(_) if LEFT_OUT.contains(&scheme) => {
            Err(format!("this program was built without {}:// (cargo build --features cohort/gcp,cohort/azure); it reads file:// and s3://", url.scheme()))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// As [`of_url`], for reading: a store that does not answer is given up after a while.
///
/// # Errors
/// Why there is no such store.
pub fn to_read(url: &Url) -> Result<(Arc<dyn ObjectStore>, Path), String> {
    of_url(url, Some(RetryConfig { max_retries: RETRIES, retry_timeout: PATIENCE, ..RetryConfig::default() }))
}

/// The files of this machine.
pub fn local() -> Arc<dyn ObjectStore> {
    Arc::new(LocalFileSystem::new())
}

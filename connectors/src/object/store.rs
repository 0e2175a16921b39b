//! Object stores by URL. Keys, regions and endpoints come from the usual variables of the environment.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
#[cfg(feature = "azure")]
use object_store::azure::MicrosoftAzureBuilder;
#[cfg(feature = "gcp")]
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreScheme, RetryConfig, parse_url};
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
    let retry = retry.unwrap_or_default();
    let store: Result<Arc<dyn ObjectStore>, _> = match scheme {
        ObjectStoreScheme::AmazonS3 => AmazonS3Builder::from_env().with_url(url.as_str()).with_retry(retry).build().map(|store| Arc::new(store) as _),
        #[cfg(feature = "gcp")]
        ObjectStoreScheme::GoogleCloudStorage => {
            GoogleCloudStorageBuilder::from_env().with_url(url.as_str()).with_retry(retry).build().map(|store| Arc::new(store) as _)
        }
        #[cfg(feature = "azure")]
        ObjectStoreScheme::MicrosoftAzure => {
            MicrosoftAzureBuilder::from_env().with_url(url.as_str()).with_retry(retry).build().map(|store| Arc::new(store) as _)
        }
        _ if LEFT_OUT.contains(&scheme) => {
            return Err(format!(
                "this program was built without {}:// (cargo build --features cohort/gcp,cohort/azure); it reads file:// and s3://",
                url.scheme()
            ));
        }
        _ => parse_url(url).map(|(store, _)| Arc::from(store)),
    };
    store.map(|store| (store, path)).map_err(|e| e.to_string())
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

//! HTTPS, by certificate files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::live::Live;

const EXTENSIONS: &str = "[req]\ndistinguished_name = name\nx509_extensions = extensions\nprompt = no\n[name]\nCN = localhost\n\
                          [extensions]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = DNS:localhost, IP:127.0.0.1\n";

/// A certificate of its own for localhost and its key, as files; none without the openssl command.
pub fn certificate(folder: &Path, name: &str) -> Option<(PathBuf, PathBuf)> {
    let (config, certificate, key) = (folder.join("openssl.cnf"), folder.join(format!("{name}.pem")), folder.join(format!("{name}-key.pem")));
    std::fs::write(&config, EXTENSIONS).expect("a file");
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-config"]).arg(config).arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let Ok(made) = openssl.output() else {
        eprintln!("SKIPPED: TLS (there is no openssl command)");
        return None;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some((certificate, key))
}

fn client(trusted: &Path) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pem = std::fs::read(trusted).expect("a certificate");
    let trusted = reqwest::Certificate::from_pem(&pem).expect("a certificate");
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).tls_certs_only([trusted]).build().expect("a client")
}

#[tokio::test]
async fn https_by_certificate_files() {
    let data = tempfile::tempdir().expect("a folder");
    let Some((own, key)) = certificate(data.path(), "own") else { return };
    let Some((other, other_key)) = certificate(data.path(), "other") else { return };
    let tls = |certificate: &Path, key: &Path| format!("server.tls={{certificate=\"{}\",key=\"{}\"}}", certificate.display(), key.display());
    let mut live = Live::start(&data.path().join("data"), &["source.partitions=1", &tls(&own, &key)]);
    let address = live.base.strip_prefix("https://").expect("https").to_string();
    live.client = client(&own);
    assert_eq!(live.get("/status").await.status, 200);
    // By name as well as by address.
    let port = address.rsplit(':').next().expect("a port");
    let by_name = live.client.get(format!("https://localhost:{port}/healthz")).send().await.expect("an answer");
    assert_eq!(by_name.status().as_u16(), 200);
    let stranger = client(&other).get(format!("https://{address}/healthz")).send().await.expect_err("another certificate is not trusted");
    assert!(format!("{stranger:?}").contains("UnknownIssuer") || format!("{stranger:?}").contains("BadSignature"), "{stranger:?}");
    let plain = reqwest::Client::builder().no_proxy().build().expect("a client").get(format!("http://{address}/healthz")).send().await;
    assert!(plain.is_err(), "HTTP where HTTPS is spoken");
    let (ended, took) = live.terminate();
    assert!(ended.success() && took < Duration::from_secs(10));

    // What can't be is refused at the start, with the key that says so.
    for (set, says) in [
        (tls(&own, &other_key), "server.tls"),
        (tls(&key, &key), "server.tls"),
        (tls(&data.path().join("none.pem"), &key), "server.tls.certificate: there is no file"),
    ] {
        let said = Live::start_with(&data.path().join("data"), &[&set], &[]).err().unwrap_or_default();
        assert!(said.contains(says), "{set}: {said:?}");
    }
}

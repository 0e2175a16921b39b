//! The web UI as the binary serves it; its pages are tested in a browser, in `server/ui/tests`.

use reqwest::{Method, Response};

use crate::live::Live;

async fn get(live: &Live, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = headers.iter().fold(live.page(Method::GET, path), |r, (name, value)| r.header(*name, *value));
    request.send().await.expect("an answer")
}

fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_string()
}

#[tokio::test]
async fn the_binary_serves_its_ui() {
    let data = tempfile::tempdir().expect("a folder");
    let live = Live::start(data.path(), &[]);
    let index = get(&live, "/", &[]).await;
    assert_eq!((index.status().as_u16(), header(&index, "content-type").as_str()), (200, "text/html; charset=utf-8"));
    assert!(header(&index, "content-security-policy").contains("default-src 'self'"));
    assert_eq!(header(&index, "cache-control"), "no-cache");
    let tag = header(&index, "etag");
    assert_eq!(get(&live, "/", &[("if-none-match", &tag)]).await.status(), 304);
    let page = index.text().await.expect("text");
    // A page of the application, whatever its address; but nothing else is one.
    assert_eq!(get(&live, "/segments/High%20Spenders", &[]).await.text().await.expect("text"), page);
    for (path, method) in [("/api/v1/nothing", Method::GET), ("/assets/none.js", Method::GET), ("/segments/x", Method::POST)] {
        let answer = live.page(method, path).send().await.expect("an answer");
        assert_eq!((answer.status().as_u16(), header(&answer, "content-type").as_str()), (404, "application/problem+json"), "{path}");
    }
    let Some(script) = page.split('"').find(|part| part.starts_with("/assets/") && part.ends_with(".js")) else {
        assert!(page.contains("without its web UI"), "neither the UI nor what is there without: {page}");
        return;
    };
    let plain = get(&live, script, &[("accept-encoding", "identity")]).await;
    assert_eq!(header(&plain, "cache-control"), "public, max-age=31536000, immutable");
    assert_eq!((header(&plain, "content-type").as_str(), header(&plain, "content-encoding").as_str()), ("text/javascript; charset=utf-8", ""));
    let plain = plain.bytes().await.expect("a body");
    let small = get(&live, script, &[("accept-encoding", "gzip, br")]).await;
    assert_eq!(header(&small, "content-encoding"), "br");
    let small = small.bytes().await.expect("a body");
    assert!(small.len() * 2 < plain.len(), "{} bytes of {}", small.len(), plain.len());
}

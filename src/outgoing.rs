//! The beginning of every HTTP client.

/// A client for the server of `url`, with the one crypto provider. Redirects are followed: who sends what no other server may have
/// says otherwise.
pub(crate) fn http_client(url: &str) -> reqwest::ClientBuilder {
    // Fails only when a provider is installed already, which is as good.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let builder = reqwest::Client::builder();
    if url.starts_with("http:") {
        // Plain HTTP needs no certificates: do not insist on a trust store.
        builder.tls_certs_only([])
    } else {
        builder
    }
}

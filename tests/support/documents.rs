//! A web site of a client, with TLS: its metadata document (CIMD), and an address that browsers are sent back to.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{Json, Router, routing::get};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// A site on a loopback port, until the runtime ends.
pub(crate) struct Site {
    /// `https://127.0.0.1:<port>`.
    pub(crate) origin: String,
    /// Its certificate, to be trusted.
    pub(crate) certificate: String,
}

impl Site {
    /// The `client_id` of the document that is called `name`.
    pub(crate) fn client_id(&self, name: &str) -> String {
        format!("{}/{name}.json", self.origin)
    }

    /// Serves the documents that `documents` gives for the site's origin, by their name, and `/callback`.
    pub(crate) async fn start(documents: impl Fn(&str) -> Vec<(&'static str, Value)>) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("https://{}", listener.local_addr().unwrap());
        let mut router = Router::new().route("/callback", get(async || "You can close this page."));
        for (name, document) in documents(&origin) {
            router = router.route(&format!("/{name}.json"), get(async || Json(document)));
        }
        let listener = TlsListener { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { origin, certificate: certificate.pem() }
    }
}

/// The document of a client without a secret.
pub(crate) fn document(client_id: &str, name: &str, redirects: &[&str]) -> Value {
    json!({
        "client_id": client_id,
        "client_name": name,
        "redirect_uris": redirects,
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    })
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // Who hangs up during the handshake is not served.
            if let Ok((stream, address)) = self.listener.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

//! A platform behind TLS.

use std::net::Ipv4Addr;
use std::sync::Arc;

use data_platform_consumer::sink::FailureKind;
use data_platform_consumer::sink::http::HttpSink;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::server::{Answer, Server};
use crate::sinks::{deliver, event, settings, sink};

/// A server whose certificate only its own file vouches for, and that file.
async fn server() -> (Server, tempfile::NamedTempFile) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, made.cert.pem()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    (Server::start_behind(Some(acceptor), |_| Answer::of(200)).await, file)
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_for_an_operator() {
    let (server, _) = server().await;
    // One of another server, so that there is an authority to trust even on a machine without any.
    let (_, other) = self::server().await;
    let sink = sink(&server.url("https"), &[("CA_FILE", other.path().to_str().unwrap())]);
    let failure = deliver(&sink, &event(15)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Misconfigured, "{failure}");
    assert!(
        failure.to_string().contains("certificate") && failure.to_string().contains("ca_file"),
        "{failure}"
    );
    assert!(server.received().is_empty());
}

#[tokio::test]
async fn a_certificate_of_the_settings_is_trusted() {
    let (server, file) = server().await;
    let sink = sink(&server.url("https"), &[("CA_FILE", file.path().to_str().unwrap())]);
    deliver(&sink, &event(15)).await.unwrap();
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_platform_without_tls_is_for_an_operator_when_it_is_asked_for() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    // What servers say to bytes that they do not understand.
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        stream
    });
    let (_, other) = server().await;
    let sink = sink(&url, &[("CA_FILE", other.path().to_str().unwrap())]);
    let failure = deliver(&sink, &event(15)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Misconfigured, "{failure}");
    drop(answering.await.unwrap());
}

#[test]
fn a_file_without_certificates_is_refused_by_the_name_of_its_setting() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for path in ["/nowhere/ca.pem", empty.path().to_str().unwrap()] {
        let refused = HttpSink::new(&settings("https://localhost/", &[("CA_FILE", path)])).err().unwrap();
        assert_eq!(refused.key, "sink.http.ca_file");
        assert!(refused.reason.contains(path), "{refused}");
    }
}

//! Sockets and their files.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use tare_http::{Error, Listener};

#[tokio::test]
async fn the_socket_is_for_owner_and_group_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = Listener::unix(&path, Some(0)).unwrap();
    let found = std::fs::metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    drop(UnixListener::bind(&path).unwrap());
    let first = Listener::unix(&path, None).unwrap();
    assert!(matches!(Listener::unix(&path, None), Err(Error::InUse(_))));
    drop(first);
    std::fs::write(&path, "not a socket").unwrap();
    assert!(matches!(Listener::unix(&path, None), Err(Error::NotSocket(_))));
    assert!(path.exists());
}

#[tokio::test]
async fn a_successors_socket_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let first = Listener::unix(&path, None).unwrap();
    std::fs::remove_file(&path).unwrap();
    let _second = Listener::unix(&path, None).unwrap();
    drop(first);
    assert!(path.exists());
}

#[tokio::test]
async fn inherited_sockets_of_both_kinds_are_taken() {
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    assert_eq!(Listener::inherited(tcp.into()).unwrap().address(), format!("tcp://{address}"));
    let directory = tempfile::tempdir().unwrap();
    let unix = UnixListener::bind(directory.path().join("s")).unwrap();
    assert!(Listener::inherited(unix.into()).is_ok());
}

#[tokio::test]
async fn pages_in_browsers_reach_nothing_over_tcp() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let listener = Listener::inherited(tcp.into()).unwrap();
    let router = crate::routes(&std::sync::Arc::default());
    tokio::spawn(tare_http::serve(vec![listener], router, || (), std::future::pending()));
    for (headers, status) in [
        (format!("Host: {address}\r\n"), "200"),
        ("Host: page.example\r\n".to_owned(), "403"),
        (format!("Host: {address}\r\nOrigin: http://page.example\r\n"), "403"),
    ] {
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET /hello/you HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{headers}: {answer}");
    }
}

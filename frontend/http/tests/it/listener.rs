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
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(answers(Listener::inherited(tcp.into()).unwrap()).await, ["200", "403", "403", "403"]);
    let public = || Listener::public("127.0.0.1:0".parse().unwrap(), None).unwrap();
    assert_eq!(answers(public().without_pages()).await, ["200", "403", "403", "403"]);
    assert_eq!(answers(public()).await, ["200"; 4], "its front end judges");
}

/// What a program, a page whose name was pointed here (DNS rebinding) and pages of elsewhere are answered.
async fn answers(listener: Listener) -> Vec<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let address: std::net::SocketAddr = listener.address().trim_start_matches("tcp://").parse().unwrap();
    let router = crate::routes(&std::sync::Arc::default());
    let served = tokio::spawn(tare_http::serve(vec![listener], router, || (), std::future::pending()));
    let mut answers = Vec::new();
    for (method, headers) in [
        ("GET /hello/you", format!("Host: {address}\r\n")),
        ("GET /hello/you", "Host: page.example\r\n".to_owned()),
        ("GET /hello/you", format!("Host: {address}\r\nOrigin: http://page.example\r\n")),
        ("POST /echo", format!("Host: {address}\r\nOrigin: null\r\nContent-Type: text/plain\r\n")),
    ] {
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("{method} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answers.push(answer.split(' ').nth(1).unwrap_or_default().to_owned());
    }
    served.abort();
    answers
}

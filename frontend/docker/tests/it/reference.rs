//! Every endpoint of the reference is routed: none of them is "page not found".

use crate::Api;

/// Method and path of every operation of the Engine API v1.51, with names filled in.
const OPERATIONS: &str = include_str!("operations.txt");

#[tokio::test]
async fn every_operation_of_the_reference_is_answered() {
    let api = Api::start().await;
    let mut missing_yet = 0;
    for operation in OPERATIONS.lines() {
        let (method, path) = operation.split_once(' ').unwrap();
        if path == "/events" {
            continue; // it never ends; its own test looks at it
        }
        if path.starts_with("/distribution/") {
            continue; // it asks a registry elsewhere; the end-to-end tests have one
        }
        let answer = api.ask(method, path, None).await;
        assert!(answer.status < 500 || [501, 503].contains(&answer.status), "{operation}: {}", answer.body);
        assert!(
            !answer.body.contains("page not found") && answer.status != 405,
            "{operation}: {}",
            answer.body
        );
        match answer.status {
            501 if method != "HEAD" => {
                assert!(answer.message().starts_with("not supported yet: "), "{operation}: {}", answer.body)
            }
            503 => assert!(
                answer.message().starts_with("This node is not a swarm manager"),
                "{operation}: {}",
                answer.body
            ),
            _ => {}
        }
        missing_yet += u32::from(matches!(answer.status, 501 | 503));
    }
    assert!(missing_yet > 50, "{missing_yet}");
}

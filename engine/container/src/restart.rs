//! Decides whether and when a container that ended is started again. Pure.

use std::time::Duration;

use crate::spec::RestartPolicy;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);
/// Who ran so long begins again with the shortest wait.
const SETTLED: Duration = Duration::from_secs(10);

/// How a run ended, for the policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub exit_code: i32,
    pub ran_for: Duration,
    /// `stop`, `kill` or `rm` was asked for.
    pub by_user: bool,
    /// How often it has been started again already.
    pub restarts: u32,
}

/// The wait before the next start, which doubles from one short run to the next; nothing = it stays down.
pub(crate) fn after_exit(
    policy: RestartPolicy,
    ended: Ended,
    last_wait: Option<Duration>,
) -> Option<Duration> {
    let again = match policy {
        _ if ended.by_user => false,
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure(most) => ended.exit_code != 0 && (most == 0 || ended.restarts < most),
    };
    let doubled = match last_wait {
        Some(last) if ended.ran_for < SETTLED => (last * 2).min(LONGEST),
        _ => FIRST,
    };
    again.then_some(doubled)
}

/// Whether a container that was down, or went down with the machine, is started when the daemon comes up.
pub(crate) fn at_boot(policy: RestartPolicy, ended: Ended) -> bool {
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::UnlessStopped => !ended.by_user,
        RestartPolicy::No | RestartPolicy::OnFailure(_) => after_exit(policy, ended, None).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: Ended = Ended { exit_code: 1, ran_for: Duration::from_secs(1), by_user: false, restarts: 0 };

    #[test]
    fn the_wait_doubles_up_to_a_minute_and_starts_over() {
        let mut wait = None;
        let mut waits = Vec::new();
        for _ in 0..12 {
            wait = after_exit(RestartPolicy::Always, CRASH, wait);
            waits.push(wait.unwrap().as_millis());
        }
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[11], 60_000);
        let long = Ended { ran_for: Duration::from_secs(11), ..CRASH };
        assert_eq!(after_exit(RestartPolicy::Always, long, wait), Some(FIRST));
    }

    #[test]
    fn each_policy_restarts_what_it_says() {
        let clean = Ended { exit_code: 0, ..CRASH };
        let stopped = Ended { by_user: true, ..CRASH };
        assert_eq!(after_exit(RestartPolicy::No, CRASH, None), None);
        assert!(after_exit(RestartPolicy::Always, clean, None).is_some());
        assert_eq!(after_exit(RestartPolicy::Always, stopped, None), None);
        assert_eq!(after_exit(RestartPolicy::OnFailure(0), clean, None), None);
        assert!(after_exit(RestartPolicy::OnFailure(2), Ended { restarts: 1, ..CRASH }, None).is_some());
        assert_eq!(after_exit(RestartPolicy::OnFailure(2), Ended { restarts: 2, ..CRASH }, None), None);
        assert!(at_boot(RestartPolicy::Always, stopped));
        assert!(!at_boot(RestartPolicy::UnlessStopped, stopped));
        assert!(at_boot(RestartPolicy::UnlessStopped, CRASH));
    }
}

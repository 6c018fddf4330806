//! The processes of a container, as ps(1) shows them.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use tare_protocol::{Request, Response};

use crate::engine::{Engine, blocking};
use crate::error::Step;
use crate::options::Top;
use crate::{Error, Result, shim};

const TITLES: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];

impl Engine {
    /// Lists the processes of a running container. Without arguments, or with `-ef`, /proc is read; other arguments are
    /// the host's ps(1) to answer, and its lines are filtered.
    pub async fn top(&self, id: &str, ps_args: &str) -> Result<Top> {
        let container = self.running(id)?;
        let dir = self.exec_dir(&container.id);
        let pids = match shim::ask(&container.id, &dir, &Request::Processes).await? {
            Response::Processes(pids) => pids,
            other => return Err(Error::ShimLost(container.id.clone(), format!("it answered {other:?}"))),
        };
        let arguments = ps_args.trim().to_owned();
        if arguments.is_empty() || arguments == "-ef" {
            return blocking(move || Ok(native(&pids))).await;
        }
        check_arguments(&arguments)?;
        blocking(move || by_ps(&arguments, &pids)).await
    }
}

/// Columns for one process, read from /proc; nothing when it has ended meanwhile.
fn native(pids: &[i32]) -> Top {
    let names = user_names(&std::fs::read_to_string("/etc/passwd").unwrap_or_default());
    let boot = boot_time();
    let mut pids = pids.to_vec();
    pids.sort_unstable();
    let mut room = COMMANDS;
    let processes = pids.iter().filter_map(|pid| row(*pid, &names, boot, &mut room)).collect();
    Top { titles: TITLES.map(str::to_owned).to_vec(), processes }
}

/// Bytes of one command line that are shown, which is as much as ps(1) shows, and of all of them: what a program says that it
/// is called costs it nothing where thousands share it.
const COMMAND: u64 = 4096;
const COMMANDS: u64 = 4 << 20;

fn row(pid: i32, names: &HashMap<u32, String>, boot: u64, room: &mut u64) -> Option<Vec<String>> {
    use std::os::unix::fs::MetadataExt;
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let uid = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    let stat = Stat::parse(&String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/stat")).ok()?))?;
    let mut command = Vec::new();
    let file = File::open(format!("/proc/{pid}/cmdline")).ok()?;
    *room -= file.take(COMMAND.min(*room)).read_to_end(&mut command).ok()? as u64;
    let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
    let started = boot + stat.started / ticks;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let (used, age) = (stat.used / ticks, now.saturating_sub(started));
    let share = (used * 100).checked_div(age).unwrap_or(0).min(99);
    Some(vec![
        names.get(&uid).cloned().unwrap_or_else(|| uid.to_string()),
        pid.to_string(),
        stat.parent.to_string(),
        share.to_string(),
        start_time(started, now),
        stat.terminal(),
        format!("{:02}:{:02}:{:02}", used / 3600, used / 60 % 60, used % 60),
        if command.is_empty() { format!("[{}]", stat.name) } else { command },
    ])
}

/// What is used of /proc/PID/stat (proc_pid_stat(5)).
struct Stat {
    name: String,
    parent: i32,
    terminal: i32,
    used: u64,
    started: u64,
}

impl Stat {
    /// The program's name stands in brackets and may hold brackets and blanks itself, so fields are counted from the last one.
    fn parse(text: &str) -> Option<Self> {
        let (open, close) = (text.find('(')?, text.rfind(')')?);
        let fields: Vec<&str> = text.get(close + 2..)?.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            name: text.get(open + 1..close)?.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            terminal: fields.get(4)?.parse().ok()?,
            used: number(11)? + number(12)?,
            started: number(19)?,
        })
    }

    fn terminal(&self) -> String {
        let (major, minor) =
            ((self.terminal >> 8) & 0xfff, (self.terminal & 0xff) | ((self.terminal >> 12) & 0xfff00));
        match major {
            0 => "?".to_owned(),
            136..=143 => format!("pts/{}", minor + (major - 136) * 256),
            4 => format!("tty{minor}"),
            _ => "?".to_owned(),
        }
    }
}

/// The hour today, the day otherwise.
fn start_time(started: u64, now: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = tare_model::Timestamp { seconds: started.cast_signed(), nanoseconds: 0 }.to_string();
    if now / 86_400 == started / 86_400 {
        return text[11..16].to_owned();
    }
    let month = text[5..7].parse::<usize>().map_or("???", |month| MONTHS[(month - 1) % 12]);
    format!("{month}{}", &text[8..10])
}

fn boot_time() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or(0)
}

fn user_names(passwd: &str) -> HashMap<u32, String> {
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let (name, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
        Some((uid.parse().ok()?, name.to_owned()))
    };
    passwd.lines().filter_map(entry).collect()
}

/// The words go to a program of the host as they are; nothing but what ps(1) takes for columns is let through.
fn check_arguments(arguments: &str) -> Result<()> {
    let sound = |c: char| c.is_ascii_alphanumeric() || " -_,=:%+".contains(c);
    if arguments.len() <= 256 && arguments.chars().all(sound) {
        return Ok(());
    }
    Err(Error::InvalidSpec(format!("invalid ps arguments: \"{arguments}\"")))
}

/// Bytes that are read of what ps(1) lists.
const LISTED: u64 = 32 << 20;

fn by_ps(arguments: &str, pids: &[i32]) -> Result<Top> {
    let mut listed = Vec::new();
    let mut run = || {
        let mut ps = Command::new("ps");
        // Lines of so many letters: the command lines of all processes of the machine, as long as they are, are nobody's table.
        ps.args(arguments.split_whitespace()).env("COLUMNS", COMMAND.to_string());
        let mut ps = ps.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        tare_sys::descriptors::give_back(ps.id() as i32);
        let read = ps.stdout.take().map_or(Ok(0), |out| out.take(LISTED).read_to_end(&mut listed));
        let output = ps.wait_with_output()?;
        read.map(|_| output)
    };
    let output = run().step(|| format!("run ps {arguments}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::InvalidSpec(format!("ps {arguments}: {words}")));
    }
    filter(&String::from_utf8_lossy(&listed), pids)
}

/// The lines of ps(1) whose PID is one of ours; the last column may hold blanks.
fn filter(output: &str, pids: &[i32]) -> Result<Top> {
    let mut lines = output.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let at = titles.iter().position(|title| title == "PID");
    let at = at.ok_or_else(|| Error::InvalidSpec("Couldn't find PID field in ps output".to_owned()))?;
    let cells = |line: &str| -> Vec<String> {
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if words.len() > titles.len() {
            let rest = words.split_off(titles.len() - 1).join(" ");
            words.push(rest);
        }
        words
    };
    let ours = |cells: &Vec<String>| {
        cells.get(at).and_then(|pid| pid.parse().ok()).is_some_and(|pid| pids.contains(&pid))
    };
    let processes = lines.map(cells).filter(ours).collect();
    Ok(Top { titles, processes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_from_proc() {
        let own = std::process::id().cast_signed();
        let top = native(&[own, i32::MAX]);
        assert_eq!(top.processes.len(), 1);
        assert_eq!(top.processes[0][1], own.to_string());
        assert!(!top.processes[0][7].is_empty());
    }

    #[test]
    fn names_with_brackets_do_not_confuse() {
        let stat =
            Stat::parse("7 (a) b) S 1 7 7 34816 7 4194304 1 0 0 0 150 50 0 0 20 0 1 0 900 1 1").unwrap();
        assert_eq!((stat.name.as_str(), stat.parent, stat.used, stat.started), ("a) b", 1, 200, 900));
        assert_eq!(stat.terminal(), "pts/0");
    }

    #[test]
    fn lines_of_ps_are_filtered_by_pid() {
        let output = "  PID CMD\n    1 init\n   42 sleep 600 x\n";
        let top = filter(output, &[42]).unwrap();
        assert_eq!(top.processes, [["42", "sleep 600 x"]]);
        assert!(filter("CMD\nx\n", &[1]).is_err());
        assert!(check_arguments("-o pid,comm").is_ok());
        assert!(check_arguments("-o pid; rm").is_err());
    }
}

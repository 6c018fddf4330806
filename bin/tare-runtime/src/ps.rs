//! `tare-runtime ps`: ps(1) of the host, cut down to the container's processes.

use std::process::Command;

use crate::failure::{Failure, Outcome};
use crate::flags::{Given, value};
use crate::global::Global;

pub(crate) fn command(global: &Global, arguments: &[&str]) -> Outcome {
    let given = Given::parse(arguments, &[value("format", "f")])?;
    let [id, options @ ..] = given.rest.as_slice() else {
        return Err(Failure::new("a container's id is needed"));
    };
    let processes = global.open(id)?.processes()?;
    match given.value("format") {
        Some("json") => println!("{}", serde_json::to_string(&processes).map_err(Failure::new)?),
        None | Some("table") => print!("{}", table(&processes, options)?),
        Some(other) => return Err(Failure::new(format!("--format must be table or json, not {other}"))),
    }
    Ok(0)
}

fn table(processes: &[i32], options: &[&str]) -> Result<String, Failure> {
    let options = if options.is_empty() { &["-ef"] } else { options };
    let answer =
        Command::new("ps").args(options).output().map_err(|e| Failure::new(format!("cannot run ps: {e}")))?;
    if !answer.status.success() {
        return Err(Failure::new(format!("ps: {}", String::from_utf8_lossy(&answer.stderr).trim())));
    }
    rows_of(&String::from_utf8_lossy(&answer.stdout), processes)
}

fn rows_of(text: &str, processes: &[i32]) -> Result<String, Failure> {
    let head = text.lines().next().unwrap_or_default();
    let column = head.split_whitespace().position(|title| title == "PID");
    let column = column.ok_or_else(|| Failure::new("ps must print the column PID"))?;
    let wanted = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| processes.contains(&pid))
    };
    let rows = text.lines().skip(1).filter(wanted);
    Ok(std::iter::once(head).chain(rows).map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_rows_are_kept() {
        let text = "UID  PID CMD\nroot   1 init\nroot  12 a 7\nroot   7 b\n";
        assert_eq!(rows_of(text, &[7, 99]).unwrap(), "UID  PID CMD\nroot   7 b\n");
        assert!(rows_of("UID CMD\n", &[1]).is_err());
    }
}

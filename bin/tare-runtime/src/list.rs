//! `tare-runtime list`.

use tare_runtime::kept::{self, State};

use crate::failure::{Failure, Outcome};
use crate::flags::{Given, switch, value};
use crate::global::Global;

pub(crate) fn command(global: &Global, arguments: &[&str]) -> Outcome {
    let given = Given::parse_anywhere(arguments, &[value("format", "f"), switch("quiet", "q")])?;
    let states: Vec<State> =
        kept::list(&global.root)?.iter().map(kept::Kept::state).collect::<tare_runtime::Result<_>>()?;
    match given.value("format") {
        _ if given.is("quiet") => states.iter().for_each(|state| println!("{}", state.id)),
        None | Some("table") => print!("{}", table(&states)),
        Some("json") => println!("{}", serde_json::to_string(&states).map_err(Failure::new)?),
        Some(other) => return Err(Failure::new(format!("--format must be table or json, not {other}"))),
    }
    Ok(0)
}

fn table(states: &[State]) -> String {
    let heads = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(heads).chain(states.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |row: &[String; 6]| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// The name that /etc/passwd has for a number.
fn named(owner: &str) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == owner).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| if owner == "root" { owner.to_owned() } else { format!("#{owner}") })
}

fn row(state: &State) -> [String; 6] {
    [
        state.id.clone(),
        state.pid.to_string(),
        format!("{:?}", state.status).to_lowercase(),
        state.bundle.display().to_string(),
        state.created.map(|created| created.to_string()).unwrap_or_default(),
        state.owner.as_deref().map(named).unwrap_or_default(),
    ]
}

//! Pressure stall information: how long processes waited for what they lacked.
//! <https://docs.kernel.org/accounting/psi.html>

use std::os::fd::AsFd;

use crate::file;
use crate::group::Dir;
use crate::stats::{Pressure, Stall};

/// One of `cpu.pressure`, `memory.pressure` and `io.pressure`; none where the kernel does not tell.
pub(super) fn read(dir: &Dir, name: &str) -> Option<Pressure> {
    // Turned off by the kernel's command line, it answers EOPNOTSUPP.
    parse(&file::read(dir.fd.as_fd(), name).ok()?)
}

/// Lines of `some avg10=0.12 avg60=0.00 avg300=0.00 total=4711`.
fn parse(text: &str) -> Option<Pressure> {
    let line = |name: &str| {
        let words = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        let mut stall = Stall::default();
        for (key, value) in words.split_whitespace().filter_map(|word| word.split_once('=')) {
            match key {
                "avg10" => stall.percent_10 = hundredths(value)?,
                "avg60" => stall.percent_60 = hundredths(value)?,
                "avg300" => stall.percent_300 = hundredths(value)?,
                "total" => stall.total = value.parse().ok()?,
                _ => {}
            }
        }
        Some(stall)
    };
    // Linux before 5.13 has no `full` of processors.
    Some(Pressure { some: line("some")?, full: line("full").unwrap_or_default() })
}

fn hundredths(percent: &str) -> Option<u32> {
    let (whole, part) = percent.split_once('.')?;
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(part.get(..2)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_time_are_hundredths_of_a_percent() {
        let text = "some avg10=12.34 avg60=0.05 avg300=0.00 total=4711\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=9\n";
        let pressure = parse(text).unwrap();
        assert_eq!(pressure.some, Stall { percent_10: 1234, percent_60: 5, percent_300: 0, total: 4711 });
        assert_eq!((pressure.full.percent_10, pressure.full.total), (100, 9));
        assert_eq!(parse("some avg10=0.00 avg60=0.00 avg300=0.00 total=1").unwrap().full, Stall::default());
        for nonsense in [
            "",
            "some",
            "some avg10=x",
            "full avg10=0.00",
            "some avg10=0.é total=1",
            "some avg10=99999999.00",
        ] {
            let _ = parse(nonsense);
        }
    }
}

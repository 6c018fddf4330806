use thiserror::Error;

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid size \"{0}\": a number with an optional unit b, k, m, g, t or p is wanted (as in 512m)")]
pub struct SizeError(String);

/// Reads a size as Docker's command line does: a decimal number and a binary unit (`512m`, `1.5GiB`, `64 kb`, `1024`).
pub fn parse_bytes(text: &str) -> Result<u64, SizeError> {
    let bad = || SizeError(text.to_owned());
    let lower = text.trim().to_ascii_lowercase();
    let unit_at = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(unit_at);
    let power = match unit.trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(bad()),
    };
    let factor = 1024_u64.pow(power);
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(bad);
    }
    let bytes = number.parse::<f64>().map_err(|_| bad())? * factor as f64;
    if bytes.is_finite() && bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(bad()) }
}

/// Writes a size in decimal units with three significant digits, as Docker shows images: `142MB`, `1.84kB`.
pub fn format_bytes(bytes: u64) -> String {
    format_with(bytes, 1000.0, 3, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// Writes a size in binary units with four significant digits, as Docker shows memory: `512MiB`.
pub fn format_bytes_binary(bytes: u64) -> String {
    format_with(bytes, 1024.0, 4, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

fn format_with(bytes: u64, base: f64, digits: usize, units: &[&str]) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let whole_digits = if value >= 1000.0 {
        4
    } else if value >= 100.0 {
        3
    } else if value >= 10.0 {
        2
    } else {
        1
    };
    let decimals = digits.saturating_sub(whole_digits);
    let number = format!("{value:.decimals$}");
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_binary_units() {
        assert_eq!(parse_bytes("512m"), Ok(512 << 20));
        assert_eq!(parse_bytes("1.5GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("1024"), Ok(1024));
        assert_eq!(parse_bytes("64 kb"), Ok(64 << 10));
        for bad in ["", "m", "-1", "1x", "99999999999999999999", "1e9", "16385p"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_as_docker_shows_them() {
        assert_eq!(format_bytes(0), "0B");
        assert_eq!(format_bytes(142_000_000), "142MB");
        assert_eq!(format_bytes(1_840), "1.84kB");
        assert_eq!(format_bytes_binary(512 << 20), "512MiB");
        assert_eq!(format_bytes_binary(25_001_234_567), "23.28GiB");
        assert_eq!(format_bytes(u64::MAX), "18.4EB");
    }
}

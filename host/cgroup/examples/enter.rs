//! `enter PATH`: lets itself into the v1 groups at PATH, says so and waits. For the tests of this room.

use std::error::Error;
use std::path::PathBuf;

use tare_cgroup::{Cgroup, Hierarchies};

fn main() -> Result<(), Box<dyn Error>> {
    let path = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: enter PATH")?);
    Cgroup::open(&Hierarchies::detect()?, &path)?.entrance()?.enter()?;
    println!("in");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

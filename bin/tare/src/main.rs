//! tare
mod create; mod failure; mod flags; mod nearest; mod output; mod template;
fn main() {}

//! The `tenter` program.

fn main() {}

use crate::runtime::Runtime;

/// One rule of the specification, and how to see whether a runtime keeps it.
#[derive(Clone, Copy)]
pub(crate) struct Clause {
    /// Document and anchor, as `runtime.md#state`.
    pub(crate) section: &'static str,
    /// In our own words.
    pub(crate) rule: &'static str,
    /// `module::test`.
    pub(crate) name: &'static str,
    /// Panics where the rule is broken, with [`Skipped`] where it cannot be seen here.
    pub(crate) test: fn(&Runtime),
}

/// What became of a clause.
pub(crate) enum Verdict {
    Kept,
    Broken(String),
    Skipped(String),
}

/// Thrown by a test whose machine lacks something.
pub(crate) struct Skipped(pub(crate) String);

/// Leaves the test: `needs WHAT`.
pub(crate) fn skip(what: &str) -> ! {
    std::panic::panic_any(Skipped(format!("needs {what}")))
}

/// `clauses! { "document.md#anchor": test "rule", …; … }`
macro_rules! clauses {
    ($($section:literal { $($test:ident $rule:literal)* })*) => {
        pub(crate) const CLAUSES: &[crate::clause::Clause] = &[$($(crate::clause::Clause {
            section: $section,
            rule: $rule,
            name: {
                const PATH: &str = concat!(module_path!(), "::", stringify!($test));
                // "oci::" is the crate's own name.
                crate::clause::after_crate(PATH)
            },
            test: $test,
        }),*),*];
    };
}
pub(crate) use clauses;

/// Without the first part of a module path.
pub(crate) const fn after_crate(path: &'static str) -> &'static str {
    let mut at = 0;
    while at < path.len() && path.as_bytes()[at] != b':' {
        at += 1;
    }
    path.split_at(at + 2).1
}

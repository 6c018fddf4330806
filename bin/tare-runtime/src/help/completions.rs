//! docs/completions is made of the table of commands: here it is made again, and compared.

use std::fmt::Write;

use super::{GLOBAL, TOPICS, Topic};

const BASH: &str = include_str!("../../../../docs/completions/tare-runtime.bash");
const ZSH: &str = include_str!("../../../../docs/completions/_tare-runtime");
const FISH: &str = include_str!("../../../../docs/completions/tare-runtime.fish");

/// Whose container is not there yet.
const MAKERS: [&str; 3] = ["create", "run", "restore"];

/// One flag of a row.
struct Flag<'a> {
    short: Option<&'a str>,
    long: &'a str,
    value: Option<&'a str>,
    does: &'a str,
}

/// A row names several where they are of one kind; the value that the last one has is then that of all.
fn flags<'a>(rows: &'a [(&'a str, &'a str)]) -> Vec<Flag<'a>> {
    let mut all = Vec::new();
    for (names, does) in rows {
        let parts: Vec<(&str, Option<&str>)> = names
            .split(", ")
            .map(|part| part.split_once(' ').map_or((part, None), |(name, value)| (name, Some(value))))
            .collect();
        for (at, (name, _)) in parts.iter().enumerate() {
            let Some(long) = name.strip_prefix("--") else { continue };
            let short = parts[..at].last().and_then(|(name, _)| name.strip_prefix('-'));
            let short = short.filter(|name| name.len() == 1);
            let value = parts[at..].iter().find_map(|(_, value)| *value);
            all.push(Flag { short, long, value, does });
        }
    }
    all
}

fn takes_container(topic: &Topic) -> bool {
    topic.arguments.starts_with("ID") && !MAKERS.contains(&topic.name)
}

/// What a shell offers for a value.
enum Offer<'a> {
    Files,
    Directories,
    Words(Vec<&'a str>),
    Nothing,
}

fn offer(value: &str) -> Offer<'_> {
    match value {
        "DIR" => Offer::Directories,
        "FILE" | "PATH" => Offer::Files,
        words if words.contains('|') => Offer::Words(words.split('|').collect()),
        _ => Offer::Nothing,
    }
}

fn zsh_flag(flag: &Flag<'_>) -> String {
    let escaped = |text: &str, special: &[char]| {
        let text = text.replace(special, "\0").replace('\'', "'\\''");
        assert!(!text.contains('\0'), "{text} needs to be escaped");
        text
    };
    let does = escaped(flag.does, &['[', ']', '\\']);
    let action = flag.value.map_or(String::new(), |value| {
        let name = value.replace(':', "\\:");
        match offer(value) {
            Offer::Directories => format!(":{name}:_files -/"),
            Offer::Files => format!(":{name}:_files"),
            Offer::Words(words) => format!(":{name}:({})", words.join(" ")),
            Offer::Nothing => format!(":{name}: "),
        }
    });
    let (long, more) = (flag.long, if flag.does.contains("again for more") { "*" } else { "" });
    let equals = if flag.value.is_some() { "=" } else { "" };
    match flag.short {
        Some(short) if more.is_empty() => {
            let value = if flag.value.is_some() { "+" } else { "" };
            format!("'(-{short} --{long})'{{-{short}{value},--{long}{equals}}}'[{does}]{action}'")
        }
        Some(short) => format!("'*'{{-{short}+,--{long}{equals}}}'[{does}]{action}'"),
        None => format!("'{more}--{long}{equals}[{does}]{action}'"),
    }
}

fn zsh() -> String {
    let lines = |flags: &[Flag<'_>], indent: &str| -> String {
        flags.iter().map(|flag| format!("{indent}{} \\\n", zsh_flag(flag))).collect()
    };
    let mut text = String::from(
        "#compdef tare-runtime\n# Completion of tare-runtime for zsh: commands, their flags, ids of containers.\n\n\
         _tare_runtime_containers() {\n    \
             local -a ids\n    \
             ids=(${(f)\"$(tare-runtime ${root:+--root $root} list --quiet 2>/dev/null)\"})\n    \
             compadd -a ids\n}\n\n\
         _tare_runtime() {\n    \
             local curcontext=$curcontext root state line\n    \
             typeset -A opt_args\n    \
             _arguments -C \\\n",
    );
    text += &lines(&flags(&GLOBAL), "        ");
    text += "        '1:command:->command' \\\n        '*::argument:->argument' && return\n    root=${opt_args[--root]}\n    \
             case $state in\n    command)\n        local -a commands\n        commands=(\n";
    for topic in &TOPICS {
        let _ = writeln!(text, "            '{}:{}'", topic.name, topic.does.replace('\'', "'\\''"));
    }
    text += "        )\n        _describe command commands ;;\n    argument)\n        case $line[1] in\n";
    for topic in &TOPICS {
        let _ = write!(text, "        {})\n            _arguments \\\n", topic.name);
        text += &lines(&flags(topic.flags), "                ");
        text += match topic {
            topic if takes_container(topic) => {
                "                '1:container:_tare_runtime_containers' \\\n                '*:argument:_files' ;;\n"
            }
            Topic { arguments: "", .. } => "                && return ;;\n",
            Topic { arguments: "DIR", .. } => "                '1:directory:_files -/' ;;\n",
            _ => "                '1:new id: ' ;;\n",
        };
    }
    text + "        esac ;;\n    esac\n}\n\n_tare_runtime \"$@\"\n"
}

fn fish_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn fish_flag(command: &str, flag: &Flag<'_>) -> String {
    let mut line = format!("complete -c tare-runtime -n '__tare_runtime_is \"{command}\"'");
    if let Some(short) = flag.short {
        let _ = write!(line, " -s {short}");
    }
    let _ = write!(line, " -l {}", flag.long);
    match flag.value.map(offer) {
        None => {}
        Some(Offer::Files | Offer::Directories) => line += " -r -F",
        Some(Offer::Words(words)) => {
            let _ = write!(line, " -x -a {}", fish_quoted(&words.join(" ")));
        }
        Some(Offer::Nothing) => line += " -x",
    }
    let _ = writeln!(line, " -d {}", fish_quoted(flag.does));
    line
}

fn fish() -> String {
    let with_value: Vec<String> = flags(&GLOBAL)
        .iter()
        .filter(|flag| flag.value.is_some())
        .map(|flag| format!("--{}", flag.long))
        .collect();
    let mut text = format!(
        "# Completion of tare-runtime for fish: commands, their flags, ids of containers.\n\n\
         # The command that was given, or nothing.\n\
         function __tare_runtime_command\n    \
             set -l words (commandline -opc)\n    \
             set -l value no\n    \
             for word in $words[2..-1]\n        \
                 if test $value = yes\n            \
                     set value no\n            \
                     continue\n        \
                 end\n        \
                 switch $word\n            \
                     case {}\n                \
                         set value yes\n            \
                     case '-*'\n            \
                     case '*'\n                \
                         echo $word\n                \
                         return\n        \
                 end\n    \
             end\n\
         end\n\n\
         function __tare_runtime_is\n    \
             set -l given (__tare_runtime_command)\n    \
             test \"$given\" = \"$argv[1]\"\n\
         end\n\n\
         function __tare_runtime_containers\n    \
             set -l words (commandline -opc)\n    \
             set -l root (string match -- '--root=*' $words)\n    \
             if set -l at (contains -i -- --root $words)\n        \
                 set root --root $words[(math $at + 1)]\n    \
             end\n    \
             tare-runtime $root list --quiet 2>/dev/null\n\
         end\n\n\
         complete -c tare-runtime -f\n",
        with_value.join(" ")
    );
    flags(&GLOBAL).iter().for_each(|flag| text += &fish_flag("", flag));
    for topic in &TOPICS {
        let name = topic.name;
        let does = fish_quoted(topic.does);
        let _ = writeln!(text, "complete -c tare-runtime -n '__tare_runtime_is \"\"' -a {name} -d {does}");
        flags(topic.flags).iter().for_each(|flag| text += &fish_flag(name, flag));
        let argument = match topic {
            topic if takes_container(topic) => "-a '(__tare_runtime_containers)'",
            Topic { arguments: "DIR", .. } => "-F",
            _ => continue,
        };
        let _ = writeln!(text, "complete -c tare-runtime -n '__tare_runtime_is \"{name}\"' {argument}");
    }
    text
}

#[test]
fn the_completions_know_every_command_and_flag() {
    for (file, committed, made) in [("_tare-runtime", ZSH, zsh()), ("tare-runtime.fish", FISH, fish())] {
        if std::env::var_os("TARE_GENERATE").is_some() {
            std::fs::write(path(file), made).unwrap();
        } else {
            assert!(committed == made, "{file}: TARE_GENERATE=1 cargo test -p tare-runtime-cli completions");
        }
    }
    let long = |rows: &[(&str, &str)]| {
        let mut names: Vec<String> = flags(rows).iter().map(|flag| format!("--{}", flag.long)).collect();
        names.sort();
        names.join(" ")
    };
    for (name, rows) in TOPICS.iter().map(|topic| (topic.name, topic.flags)).chain([("\"\"", &GLOBAL[..])]) {
        let wanted = format!("    {name}) flags=\"{}\" ;;\n", long(rows));
        assert!(BASH.contains(&wanted), "docs/completions/tare-runtime.bash lacks:\n{wanted}");
    }
    let commands: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
    assert!(BASH.contains(&commands.join(" ")));
}

fn path(file: &str) -> String {
    format!("{}/../../docs/completions/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// fish can be asked what it would offer.
#[test]
fn fish_offers_what_fits() {
    let offered = |line: &str| {
        let script = format!("source {}; complete -C '{line}'", path("tare-runtime.fish"));
        let output = std::process::Command::new("fish").args(["--no-config", "-c", &script]).output().ok()?;
        let text = String::from_utf8(output.stdout).unwrap();
        let words = text.lines().map(|line| line.split('\t').next().unwrap().to_owned());
        Some(words.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>())
    };
    let Some(flags) = offered("tare-runtime --root /nowhere create --pi") else {
        println!("skipped: needs fish");
        return;
    };
    assert_eq!(flags, ["--pid-file", "--pidfd-socket"]);
    assert_eq!(offered("tare-runtime --log x resu").unwrap(), ["resume"]);
    assert_eq!(offered("tare-runtime list --format ").unwrap(), ["json", "table"]);
}

/// Each asked by its own shell, where that is installed.
#[test]
fn the_shells_take_them() {
    for (shell, file) in
        [("bash", "tare-runtime.bash"), ("zsh", "_tare-runtime"), ("fish", "tare-runtime.fish")]
    {
        match std::process::Command::new(shell).args(["-n", &path(file)]).output() {
            Err(_) => println!("skipped: needs {shell}"),
            Ok(output) => {
                assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr))
            }
        }
    }
}

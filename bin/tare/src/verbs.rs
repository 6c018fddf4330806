//! Every verb: its names, what it takes, and the function that does it.

use crate::call::{Call, Carried};
use crate::flags::Flag;
use crate::{
    archive, attach, build, create, daemon, difference, events, images, inspect, layers, lifecycle, login,
    logs, manifest, manual, mount, port, ps, pull, push, run, search, system, usage, verify, volume,
};

/// One verb.
pub(crate) struct Verb {
    /// In a group, as in `container ls`. Empty for what belongs to none.
    pub(crate) group: &'static str,
    /// Its name in the group; further ones are other spellings.
    pub(crate) names: &'static [&'static str],
    /// Its name without a group; empty where it has none.
    pub(crate) short: &'static str,
    pub(crate) about: &'static str,
    pub(crate) flags: &'static [&'static [Flag]],
    /// What it takes beside flags, in words.
    pub(crate) operands: &'static str,
    /// How many at least and at most.
    pub(crate) count: (usize, usize),
    /// Whether everything from the first operand on is an operand.
    pub(crate) verbatim: bool,
    pub(crate) carry_out: fn(Call) -> Carried,
}

/// Groups and what they are about.
pub(crate) const GROUPS: [(&str, &str); 7] = [
    ("builder", "Manage builds"),
    ("container", "Manage containers"),
    ("image", "Manage images"),
    ("manifest", "Manage image manifests"),
    ("network", "Manage networks"),
    ("volume", "Manage volumes"),
    ("system", "Manage Tare"),
];

const ANY: usize = usize::MAX;

macro_rules! verb {
    ($group:literal $names:expr, $short:literal, $about:literal, $flags:expr, $operands:literal, $count:expr, $verbatim:literal, $function:path) => {
        Verb {
            group: $group,
            names: &$names,
            short: $short,
            about: $about,
            flags: &$flags,
            operands: $operands,
            count: $count,
            verbatim: $verbatim,
            carry_out: |call| Box::pin($function(call)),
        }
    };
}

/// All of them, in the order in which help shows them.
#[rustfmt::skip]
pub(crate) static VERBS: &[Verb] = &[
    verb!("container" ["run"], "run", "Create and run a new container from an image", [create::CREATE, create::RUN], "IMAGE [COMMAND] [ARG...]", (1, ANY), true, run::run),
    verb!("container" ["exec"], "exec", "Execute a command in a running container", [attach::EXEC], "CONTAINER COMMAND [ARG...]", (2, ANY), true, attach::exec),
    verb!("container" ["ls", "list", "ps"], "ps", "List containers", [ps::PS], "", (0, 0), false, ps::ps),
    verb!("image" ["build"], "build", "Build an image from a Dockerfile", [build::BUILD], "[PATH|URL|-]", (0, 1), false, build::build),
    verb!("image" ["pull"], "pull", "Download an image from a registry", [pull::PULL], "NAME[:TAG|@DIGEST]", (1, 1), false, pull::pull),
    verb!("image" ["push"], "push", "Upload an image to a registry", [push::PUSH], "NAME[:TAG]", (1, 1), false, push::push),
    verb!("image" ["ls", "list"], "images", "List images", [images::IMAGES], "[REPOSITORY[:TAG]]", (0, 1), false, images::images),
    verb!("" [], "login", "Authenticate to a registry", [login::LOGIN], "[SERVER]", (0, 1), false, login::login),
    verb!("" [], "logout", "Log out from a registry", [], "[SERVER]", (0, 1), false, login::logout),
    verb!("" [], "search", "Search a registry for images", [search::SEARCH], "TERM", (1, 1), false, search::search),
    verb!("" [], "version", "Show the Tare version information", [system::FORMATTED], "", (0, 0), false, system::version),
    verb!("system" ["info"], "info", "Display system-wide information", [system::FORMATTED], "", (0, 0), false, system::info),
    verb!("container" ["attach"], "attach", "Attach local standard input, output, and error streams to a running container", [attach::ATTACH], "CONTAINER", (1, 1), false, attach::attach),
    verb!("container" ["create"], "create", "Create a new container", [create::CREATE], "IMAGE [COMMAND] [ARG...]", (1, ANY), true, run::create),
    verb!("" [], "daemon", "Run the daemon in the foreground; takes the flags of tared", [], "[FLAGS...]", (0, ANY), true, daemon::daemon),
    verb!("system" ["events"], "events", "Get real time events from the server", [events::EVENTS], "", (0, 0), false, events::events),
    verb!("" [], "registry", "Serve images to other machines: serve, gc; --help tells more", [], "serve|gc [FLAGS...]", (1, ANY), true, daemon::registry),
    verb!("image" ["history"], "history", "Show the history of an image", [images::HISTORY], "IMAGE", (1, 1), false, images::history),
    verb!("" [], "inspect", "Return low-level information on Tare objects", [inspect::INSPECT], "NAME|ID [NAME|ID...]", (1, ANY), false, inspect::any),
    verb!("builder" ["prune"], "", "Remove build cache", [build::PRUNE], "", (0, 0), false, build::prune),
    verb!("builder" ["build"], "", "Build an image from a Dockerfile", [build::BUILD], "[PATH|URL|-]", (0, 1), false, build::build),
    verb!("container" ["kill"], "kill", "Kill one or more running containers", [lifecycle::KILL], "CONTAINER [CONTAINER...]", (1, ANY), false, lifecycle::kill),
    verb!("container" ["logs"], "logs", "Fetch the logs of a container", [logs::LOGS], "CONTAINER", (1, 1), false, logs::logs),
    verb!("container" ["pause"], "pause", "Pause all processes within one or more containers", [], "CONTAINER [CONTAINER...]", (1, ANY), false, lifecycle::pause),
    verb!("container" ["port"], "port", "List port mappings or a specific mapping for the container", [], "CONTAINER [PRIVATE_PORT[/PROTO]]", (1, 2), false, port::port),
    verb!("container" ["rename"], "rename", "Rename a container", [], "CONTAINER NEW_NAME", (2, 2), false, lifecycle::rename),
    verb!("container" ["restart"], "restart", "Restart one or more containers", [lifecycle::STOP], "CONTAINER [CONTAINER...]", (1, ANY), false, lifecycle::restart),
    verb!("container" ["rm", "remove"], "rm", "Remove one or more containers", [lifecycle::RM], "CONTAINER [CONTAINER...]", (1, ANY), false, lifecycle::remove),
    verb!("image" ["rm", "remove"], "rmi", "Remove one or more images", [images::RMI], "IMAGE [IMAGE...]", (1, ANY), false, images::remove),
    verb!("container" ["start"], "start", "Start one or more stopped containers", [attach::START], "CONTAINER [CONTAINER...]", (1, ANY), false, attach::start),
    verb!("container" ["stop"], "stop", "Stop one or more running containers", [lifecycle::STOP], "CONTAINER [CONTAINER...]", (1, ANY), false, lifecycle::stop),
    verb!("image" ["save"], "save", "Save one or more images to a tar archive (streamed to STDOUT by default)", [archive::SAVE], "IMAGE [IMAGE...]", (1, ANY), false, archive::save),
    verb!("image" ["load"], "load", "Load images from a tar archive or STDIN", [archive::LOAD], "", (0, 0), false, archive::load),
    verb!("image" ["tag"], "tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE", [], "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", (2, 2), false, images::tag),
    verb!("image" ["untag"], "untag", "Take names from an image, all of them where none is given; the image stays", [], "IMAGE [NAME[:TAG]...]", (1, ANY), false, images::untag),
    verb!("container" ["commit"], "commit", "Create a new image from a container's changes", [difference::COMMIT], "CONTAINER [REPOSITORY[:TAG]]", (1, 2), false, difference::commit),
    verb!("container" ["diff"], "diff", "Inspect changes to files or directories on a container's filesystem", [], "CONTAINER", (1, 1), false, difference::diff),
    verb!("container" ["export"], "export", "Export a container's filesystem as a tar archive", [difference::EXPORT], "CONTAINER", (1, 1), false, difference::export),
    verb!("image" ["import"], "import", "Import the contents from a tarball to create a filesystem image", [difference::IMPORT], "FILE|URL|- [REPOSITORY[:TAG]]", (1, 2), false, difference::import),
    verb!("container" ["top"], "top", "Display the running processes of a container", [], "CONTAINER [ps OPTIONS]", (1, ANY), true, logs::top),
    verb!("container" ["unpause"], "unpause", "Unpause all processes within one or more containers", [], "CONTAINER [CONTAINER...]", (1, ANY), false, lifecycle::unpause),
    verb!("container" ["wait"], "wait", "Block until one or more containers stop, then print their exit codes", [], "CONTAINER [CONTAINER...]", (1, ANY), false, lifecycle::wait),
    verb!("container" ["inspect"], "", "Display detailed information on one or more containers", [inspect::CONTAINER], "CONTAINER [CONTAINER...]", (1, ANY), false, inspect::container),
    verb!("image" ["inspect"], "", "Display detailed information on one or more images", [inspect::IMAGE], "IMAGE [IMAGE...]", (1, ANY), false, inspect::image),
    verb!("network" ["inspect"], "", "Display detailed information on one or more networks", [inspect::NETWORK], "NETWORK [NETWORK...]", (1, ANY), false, inspect::network),
    verb!("network" ["ls", "list"], "", "List networks", [volume::NETWORKS], "", (0, 0), false, volume::list_networks),
    verb!("volume" ["create"], "", "Create a volume", [volume::CREATE], "[VOLUME]", (0, 1), false, volume::create),
    verb!("volume" ["inspect"], "", "Display detailed information on one or more volumes", [inspect::VOLUME], "VOLUME [VOLUME...]", (1, ANY), false, inspect::volume),
    verb!("volume" ["ls", "list"], "", "List volumes", [volume::LIST], "", (0, 0), false, volume::list_volumes),
    verb!("volume" ["prune"], "", "Remove unused local volumes", [volume::PRUNE], "", (0, 0), false, volume::prune),
    verb!("volume" ["rm", "remove"], "", "Remove one or more volumes", [volume::REMOVE], "VOLUME [VOLUME...]", (1, ANY), false, volume::remove),
    verb!("container" ["prune"], "", "Remove all stopped containers", [usage::CONTAINERS], "", (0, 0), false, usage::containers),
    verb!("image" ["prune"], "", "Remove unused images", [usage::IMAGES], "", (0, 0), false, usage::images),
    verb!("system" ["df"], "", "Show disk usage", [usage::DF], "", (0, 0), false, usage::df),
    verb!("system" ["prune"], "", "Remove unused data", [usage::SYSTEM], "", (0, 0), false, usage::system),
    verb!("image" ["diff"], "", "Show what becomes of one image's files to be another's", [layers::DIFF], "IMAGE IMAGE", (2, 2), false, layers::diff),
    verb!("image" ["log"], "", "Show how an image came to be, what each layer costs and who shares it", [layers::LOG], "IMAGE", (1, 1), false, layers::log),
    verb!("image" ["mount"], "", "Mount an image's files, read-only", [], "IMAGE DIRECTORY", (2, 2), false, mount::mount),
    verb!("image" ["unmount"], "", "End such a mount", [], "DIRECTORY", (1, 1), false, mount::unmount),
    verb!("manifest" ["create"], "", "Let a name stand for images of several platforms; push sends all of them", [manifest::CREATE], "NAME[:TAG] IMAGE [IMAGE...]", (2, ANY), false, manifest::create),
    verb!("manifest" ["inspect"], "", "Show the manifest or index of an image that is here", [], "IMAGE", (1, 1), false, manifest::inspect),
    verb!("system" ["verify"], "", "Reread every blob and layer and report damage", [verify::VERIFY], "", (0, 0), false, verify::verify),
    verb!("" [], "completion", "Print the completions of a shell (bash, zsh, fish, elvish, powershell)", [], "SHELL", (1, 1), false, manual::completion),
    verb!("" [], "man", "Write the manual pages into a directory", [], "DIRECTORY", (1, 1), false, manual::man),
];

/// Docker's other words, so that they are not taken for slips of the pen.
const OTHERS: [&str; 27] = [
    "buildx",
    "bake",
    "checkpoint",
    "compose",
    "config",
    "context",
    "cp",
    "node",
    "plugin",
    "prune",
    "secret",
    "service",
    "stack",
    "stats",
    "swarm",
    "trust",
    "update",
    "df",
    "connect",
    "disconnect",
    "network",
    "volume",
    "image",
    "container",
    "system",
    "create",
    "rm",
];

/// Whether Docker has such a word and Tare does not yet.
pub(crate) fn is_dockers(word: &str) -> bool {
    OTHERS.contains(&word)
}

impl Verb {
    /// Whether `group word` means this verb; an empty group for words that stand alone.
    pub(crate) fn is(&self, group: &str, word: &str) -> bool {
        if group.is_empty() {
            !self.short.is_empty() && self.short == word
        } else {
            self.group == group && self.names.contains(&word)
        }
    }

    /// Its name in messages, without `tare`.
    pub(crate) fn name_in(&self, group: &str) -> &'static str {
        if group.is_empty() { self.short } else { self.names[0] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_means_one_verb() {
        let mut seen = BTreeSet::new();
        for verb in VERBS {
            assert!(verb.short.is_empty() || seen.insert(verb.short.to_owned()), "{}", verb.short);
            for name in verb.names {
                assert!(seen.insert(format!("{} {name}", verb.group)), "{} {name}", verb.group);
            }
        }
    }

    #[test]
    fn every_flag_of_a_verb_means_one_thing() {
        for verb in VERBS {
            let (mut longs, mut shorts) = (BTreeSet::new(), BTreeSet::new());
            for flag in verb.flags.iter().flat_map(|table| table.iter()) {
                assert!(longs.insert(flag.long), "--{} of {}", flag.long, verb.short);
                assert!(
                    flag.short.is_none_or(|short| shorts.insert(short)),
                    "-{:?} of {}",
                    flag.short,
                    verb.short
                );
            }
        }
    }
}

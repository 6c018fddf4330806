//! containerd, by `ctr run --runc-binary`.

use std::fs;

use crate::world::{OURS, World, compare};

struct Containerd {
    world: World,
    socket: String,
}

impl Containerd {
    fn start() -> Option<Self> {
        let mut world = World::of(&["containerd", "ctr"])?;
        let socket = world.path("containerd.sock");
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{socket}\"\n",
            world.path("root"),
            world.path("state"),
        );
        fs::write(world.path("config.toml"), config).unwrap();
        let file = world.path("config.toml");
        world.serve("containerd", &["--config", &file], &socket);
        Some(Self { world, socket })
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let answer = self.world.answer("ctr", &[&["--address", &self.socket], arguments].concat());
        answer.split_once("containerd.sock ").unwrap().1.to_owned()
    }

    fn run(&self, runtime: &str, flags: &[&str], id: &str, program: &[&str]) -> String {
        let (root, group) = (self.world.path("rootfs"), format!("{}/{id}", self.world.group()));
        let fixed = ["run", "--runc-binary", runtime, "--cgroup", &group, "--env", "PATH=/bin"];
        let answer = self.ask(&[&fixed[..], flags, &["--rootfs", &root, id], program].concat());
        answer.replacen(&format!(" {runtime} "), " RUNTIME ", 1)
    }

    fn answers(&self, runtime: &str) -> Vec<String> {
        let tasks = || self.columns(&["tasks", "ls"], &[0, 2]);
        let run = |flags: &[&str], program: &[&str]| self.run(runtime, flags, "short", program);
        let mut answers = vec![
            run(&["--rm"], &["sh", "-c", "echo hi; exit 3"]),
            run(&["--rm"], &["nothing"]),
            self.ask(&["containers", "rm", "short"]),
            run(&["--rm", "--memory-limit", "16000000"], &["sh", "-c", "a=x; while :; do a=$a$a; done"]),
            run(&["--rm", "--user", "5:6", "--read-only"], &["sh", "-c", "id -u; touch /x"]),
            run(&["--rm", "--privileged"], &["true"]),
            self.run(runtime, &["--detach"], "long", &["sleep", "1000"]),
            tasks(),
            // ctr lets go of the streams as soon as the program has ended, whether it has read them or not.
            self.ask(&[
                "tasks",
                "exec",
                "--exec-id",
                "e",
                "long",
                "/bin/sh",
                "-c",
                "echo in; sleep 1; exit 5",
            ]),
            self.columns(&["tasks", "metrics", "long"], &[0]),
            self.ask(&["tasks", "pause", "long"]),
            tasks(),
            self.ask(&["tasks", "resume", "long"]),
            tasks(),
            self.ask(&["tasks", "kill", "--signal", "SIGKILL", "--all", "long"]),
            // Waits for its end.
            self.ask(&["tasks", "delete", "--force", "long"]),
            tasks(),
            self.ask(&["containers", "rm", "long"]),
            self.ask(&["containers", "ls", "-q"]),
        ];
        let line = format!(
            "ctr --address {} run --rm --tty --runc-binary {runtime} --cgroup {}/t --rootfs {} tty /bin/sh -c 'ls /dev/pts; exit 6'",
            self.socket,
            self.world.group(),
            self.world.path("rootfs")
        );
        answers.push(self.world.answer_on_terminal(&line));
        answers
    }

    /// Some columns of a table.
    fn columns(&self, arguments: &[&str], wanted: &[usize]) -> String {
        let text = self.ask(arguments);
        let row = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let cells = wanted.iter().map(|column| words.get(*column).copied().unwrap_or_default());
            cells.collect::<Vec<_>>().join(" ")
        };
        text.lines().map(row).collect::<Vec<_>>().join("\n")
    }
}

#[test]
fn containerd_answers_as_with_runc() {
    let Some(containerd) = Containerd::start() else { return };
    let (runc, ours) = (containerd.answers("runc"), containerd.answers(OURS));
    assert!(runc[0].ends_with(": 3 hi"), "{}", runc[0]);
    assert!(runc[11].ends_with("long PAUSED"), "{}", runc[11]);
    compare(&runc, &ours);
}

//! What is built goes to registries, and runs where nothing of it was built; agents lend their keys to steps alone.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use tare_tests::{World, capture, compiler_image, until};

use super::Site;
use crate::registries::{Certificates, Served, ours, served, world_with_certificates};

const PROGRAM: &str = "#include <stdio.h>\n#include <sys/utsname.h>\n\
    int main(void) { struct utsname u; uname(&u); printf(\"%s %s\\n\", GREETING, u.sysname); return 0; }\n";

/// Compiled in a stage of 300 MB, shipped as two files of one.
const DOCKERFILE: &str = "FROM IMAGE AS compile\nARG GREETING=hello\nWORKDIR /src\nCOPY hello.c .\n\
    RUN --mount=type=cache,target=/root/.cache gcc -O2 -static -DGREETING=\\\"$GREETING\\\" -o /hello hello.c && strip /hello\n\
    FROM IMAGE AS test\nRUN --mount=from=compile,source=/hello,target=/hello /hello > /said\n\
    FROM scratch\nCOPY --from=compile --chmod=755 /hello /bin/hello\nCOPY --from=test /said /said\n\
    USER 1000\nENTRYPOINT [\"/bin/hello\"]\n";

/// Debian's registry with TLS and a password, and our own with both.
fn registries(world: &World, made: &Certificates, certs: &std::path::Path) -> Result<[Served; 2]> {
    let passwords = made.file("passwords");
    capture(Command::new("htpasswd").args(["-Bbc", &passwords, "ann", "secret"]))?.ok();
    let (cert, key) = (made.file("own.crt"), made.file("own.key"));
    let config = world.dir().join("secured.yml");
    let text = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nauth:\n  htpasswd:\n    realm: test\n    path: {passwords}\nhttp:\n  addr: 127.0.0.1:5006\n  tls:\n    certificate: {cert}\n    key: {key}\n",
        world.dir().join("secured").display()
    );
    std::fs::write(&config, text)?;
    let mut debian = world.command("docker-registry");
    debian.arg("serve").arg(&config);
    for port in [5006, 5007] {
        let directory = certs.join(format!("127.0.0.1:{port}"));
        std::fs::create_dir_all(&directory)?;
        std::fs::copy(made.file("ca.crt"), directory.join("ca.crt"))?;
    }
    let own = ["--htpasswd", &passwords, "--tls-cert", &cert, "--tls-key", &key];
    Ok([served(world, debian, 5006)?, ours(world, 5007, &own)?])
}

#[test]
fn a_program_is_compiled_pushed_with_a_password_and_runs_on_an_empty_machine() -> Result<()> {
    let (mut world, certs, made) = world_with_certificates()?;
    let _registries = registries(&world, &made, &certs)?;
    let image = world.push(&compiler_image()?, "cc:v1")?;
    world.tare(&["pull", "-q", &image])?.ok();
    let context = world.dir().join("context");
    std::fs::create_dir_all(&context)?;
    std::fs::write(context.join("hello.c"), PROGRAM)?;
    std::fs::write(context.join("Dockerfile"), DOCKERFILE.replace("IMAGE", &image))?;
    let context = context.to_str().context("a path that is text")?;
    let names = ["127.0.0.1:5006/prog:v1", "127.0.0.1:5007/prog:v1"];
    let build = |greeting: &str| {
        let argument = format!("GREETING={greeting}");
        world.tare(&["build", "--push", "-t", names[0], "-t", names[1], "--build-arg", &argument, context])
    };
    let refused = build("servus")?;
    assert!(refused.code != 0 && refused.err.contains("no basic auth credentials"), "{refused:?}");
    for host in ["127.0.0.1:5006", "127.0.0.1:5007"] {
        world.tare(&["login", "-u", "ann", "-p", "secret", host])?.ok();
    }
    build("servus")?.ok();
    let said = world.tare(&["run", "--rm", "--network", "none", names[0]])?;
    assert_eq!(said.ok(), "servus Linux");
    let looked = world.tare(&[
        "inspect",
        "--format",
        "{{len .RootFS.Layers}} {{.Config.User}} {{lt .Size 4000000}}",
        names[0],
    ])?;
    assert_eq!(looked.ok(), "2 1000 true");
    let file = world.dir().join("conf/daemon.json");
    world.stop_daemon();
    std::fs::rename(world.dir().join("data"), world.dir().join("data.builder"))?;
    world.start_daemon(&["--config-file", &file.to_string_lossy()])?;
    for (client, run) in world.clients() {
        for name in names {
            assert_ne!(run(&["inspect", name])?.code, 0, "{client}: the machine is not empty");
            run(&["login", "-u", "ann", "-p", "secret", name.split('/').next().unwrap_or_default()])?.ok();
            run(&["pull", "-q", name])?.ok();
            assert_eq!(run(&["run", "--rm", "--network", "none", name])?.ok(), "servus Linux", "{client}");
            run(&["rmi", "-f", name])?.ok();
        }
    }
    Ok(())
}

/// `ssh-agent` with one key. It ends with this value.
struct Agent(Child);

impl Agent {
    fn start(world: &World) -> Result<(Self, std::path::PathBuf)> {
        let (socket, key) = (world.dir().join("agent"), world.dir().join("key"));
        let mut agent = Command::new("ssh-agent");
        let agent = Self(agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn()?);
        capture(
            Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "key-of-the-test", "-f"])
                .arg(&key),
        )?
        .ok();
        until("the agent", || Ok(socket.exists()))?;
        capture(Command::new("ssh-add").arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket))?.ok();
        Ok((agent, socket))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks an agent for its keys (draft-miller-ssh-agent, 4.4) and prints the answer.
const ASK: &str = "import os, socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(os.environ['SSH_AUTH_SOCK'])\n\
    s.sendall(bytes([0, 0, 0, 1, 11]))\nprint(s.recv(4096))\n";

#[test]
fn an_agent_lends_its_keys_to_the_step_that_asks() -> Result<()> {
    let world = World::new()?;
    let image = world.push_debian()?;
    world.docker(&["pull", "-q", &image])?.ok();
    let site = Site { world, image };
    let (_agent, socket) = Agent::start(&site.world)?;
    site.file("ask.py", ASK)?;
    site.dockerfile(
        "FROM IMAGE\nCOPY ask.py /\nRUN --mount=type=ssh python3 /ask.py > /keys && test -S $SSH_AUTH_SOCK\n\
         RUN --mount=type=ssh,id=other,target=/my/agent,mode=0666 test $SSH_AUTH_SOCK = /my/agent && python3 /ask.py >> /keys\n\
         RUN test -z \"$SSH_AUTH_SOCK\" && test ! -e /my/agent\n",
    )?;
    let directory = site.directory();
    let (directory, socket) = (directory.to_str().context("a path that is text")?, socket.display());
    let agents = [format!("default={socket}"), format!("other={socket}")];
    let words = ["build", "-t", "built", "--ssh", &agents[0], "--ssh", &agents[1], directory];
    site.world.tare(&words)?.ok();
    let left =
        site.shell("grep -c key-of-the-test /keys; ls -A /my /run 2>/dev/null | grep agent || true")?;
    assert_eq!(left, "2", "both steps saw the key, and nothing of it is left");
    let missing = site.world.tare(&["build", "--no-cache", directory])?;
    assert!(missing.code != 0, "without an agent there is nothing to ask: {missing:?}");
    site.dockerfile("FROM IMAGE\nRUN --mount=type=ssh,required=true true\n")?;
    let refused = site.world.tare(&["build", directory])?;
    assert!(refused.err.contains("ssh agent default: not found: give it with --ssh default"), "{refused:?}");
    Ok(())
}

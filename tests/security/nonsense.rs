//! Images whose configuration says what nobody should believe, run as it is.

use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};
use tare_tests::{Ran, World, capture_with_input};

/// Writes an archive of an image with the configuration in the first argument, links to the directory in the second, and busybox.
const MAKE: &str = "import hashlib,io,json,sys,tarfile\n\
    def add(t,n,d,m=0o644):\n  i=tarfile.TarInfo(n); i.size=len(d); i.mode=m; t.addfile(i,io.BytesIO(d))\n\
    def link(t,n,to):\n  i=tarfile.TarInfo(n); i.type=tarfile.SYMTYPE; i.linkname=to; t.addfile(i)\n\
    b=io.BytesIO(); t=tarfile.open(fileobj=b,mode='w')\n\
    add(t,'bin/busybox',open('/bin/busybox','rb').read(),0o755)\n\
    for a in 'sh id env pwd ls cat'.split(): link(t,'bin/'+a,'busybox')\n\
    link(t,'out',sys.argv[2]); link(t,'up','../../../../../../../..'); t.close(); layer=b.getvalue()\n\
    c=json.dumps({'os':'linux','architecture':'amd64','config':json.loads(sys.argv[1]),'rootfs':{'type':'layers','diff_ids':['sha256:'+hashlib.sha256(layer).hexdigest()]}}).encode()\n\
    n=hashlib.sha256(c).hexdigest()+'.json'\n\
    t=tarfile.open(fileobj=sys.stdout.buffer,mode='w|'); add(t,n,c); add(t,'layer.tar',layer)\n\
    add(t,'manifest.json',json.dumps([{'Config':n,'RepoTags':['odd:1'],'Layers':['layer.tar']}]).encode()); t.close()\n";

struct Odd {
    world: World,
    outside: std::path::PathBuf,
}

impl Odd {
    fn new() -> Result<Self> {
        let world = World::new()?;
        let outside = world.dir().join("outside");
        std::fs::create_dir(&outside)?;
        Ok(Self { world, outside })
    }

    /// Loads an image of this configuration and runs it; what it said, or why it was refused.
    fn run(&self, config: &Value) -> Result<Ran> {
        let mut whole =
            json!({"Env": ["PATH=/bin"], "Cmd": ["sh", "-c", "echo ran as $(id -u) in $(pwd); env"]});
        let fields = config.as_object().into_iter().flatten();
        fields.for_each(|(name, value)| whole[name] = value.clone());
        let made =
            Command::new("python3").args(["-c", MAKE, &whole.to_string()]).arg(&self.outside).output()?;
        let loaded = capture_with_input(self.world.docker_command()?.arg("load"), &made.stdout)?;
        if loaded.code != 0 {
            return Ok(loaded);
        }
        self.world.docker(&["run", "--rm", "--network", "none", "odd:1"])
    }

    /// That nothing of the host was touched, and the daemon goes on.
    fn check(&self, config: &Value) -> Result<()> {
        assert_eq!(std::fs::read_dir(&self.outside)?.count(), 0, "{config}");
        self.world.assert_clean(&[])?;
        assert_eq!(self.world.docker(&["ps", "-aq"])?.ok(), "", "{config}");
        Ok(())
    }
}

/// Users that no number is, places that lead out, variables without a value, ports and volumes that are none.
#[test]
fn a_configuration_that_makes_no_sense_is_refused_or_harmless() -> Result<()> {
    let odd = Odd::new()?;
    let out = odd.outside.display();
    let long = "a/".repeat(3000);
    let volumes: serde_json::Map<_, _> = (0..1001).map(|number| (format!("/v{number}"), json!({}))).collect();
    for config in [
        json!({"User": "4294967296"}),
        json!({"User": "-1"}),
        json!({"User": "2147483648"}),
        json!({"User": "0x0"}),
        json!({"User": "1:4294967296"}),
        json!({"User": "0:0:0"}),
        json!({"User": " 0"}),
        json!({"WorkingDir": "/proc/self/fd/7"}),
        json!({"WorkingDir": "/out/made/deep"}),
        json!({"WorkingDir": "/x\0y"}),
        json!({"WorkingDir": long}),
        json!({"Env": ["PATH=/bin", "A\0B=c"]}),
        json!({"Cmd": ["sh", "-c", "true\0"]}),
        json!({"Cmd": []}),
        json!({"Entrypoint": [""]}),
        json!({"Volumes": {"": {}}}),
        json!({"Volumes": {"relative": {}}}),
        json!({"Volumes": {"..": {}}}),
        json!({"Volumes": {"/": {}}}),
        json!({"Volumes": {"/proc": {}}}),
        json!({ "Volumes": volumes }),
        json!({"Env": "PATH=/bin"}),
        json!({"Volumes": ["/x"]}),
    ] {
        let ran = odd.run(&config)?;
        assert!(ran.code != 0 && !ran.out.contains("ran as") && !ran.err.is_empty(), "{config}: {ran:?}");
        odd.check(&config)?;
    }
    for (config, said) in [
        (json!({"WorkingDir": "../../.."}), "ran as 0 in /\n".to_owned()),
        (json!({"WorkingDir": "relative"}), "ran as 0 in /relative\n".to_owned()),
        (json!({"WorkingDir": format!("/up{out}/x")}), format!("ran as 0 in {out}/x\n")),
        (json!({"Volumes": {format!("/up{out}/v"): {}, "/x:/y": {}}}), "ran as 0 in /\n".to_owned()),
        (json!({"ExposedPorts": {"99999/tcp": {}, "abc": {}, "": {}, "80/../x": {}}}), "ran as 0".to_owned()),
        (
            json!({"StopSignal": "BOGUS", "Healthcheck": {"Test": ["WHAT"], "Interval": -5}}),
            "ran as 0".to_owned(),
        ),
    ] {
        let ran = odd.run(&config)?;
        assert!(ran.ok().contains(said.trim_end()), "{config}: {ran:?}");
        odd.check(&config)?;
    }
    Ok(())
}

/// Variables without `=`, or with a name that could mean many, bring none of the daemon's into the container (CVE-2026-57231).
#[test]
fn variables_without_a_value_bring_none_of_the_host() -> Result<()> {
    let odd = Odd::new()?;
    // The daemon has what this test has.
    let ours: Vec<String> =
        std::env::vars().map(|(name, _)| name).filter(|n| n != "HOME" && n != "PATH").collect();
    for more in [vec!["*".to_owned()], vec!["=".to_owned(), "=x".to_owned(), String::new()], ours.clone()] {
        let env = [vec!["PATH=/bin".to_owned()], more].concat();
        let config = json!({"Env": env});
        let ran = odd.run(&config)?;
        for line in ran.ok().lines().skip(1) {
            let name = line.split('=').next().unwrap_or_default();
            let known = ["PATH", "HOME", "HOSTNAME", "PWD", "SHLVL", "TERM", "OLDPWD", ""];
            assert!(known.contains(&name), "{config}: {line}");
        }
        odd.check(&config)?;
    }
    Ok(())
}

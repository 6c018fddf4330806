//! /dev.

use tare_oci::runtime::Device;

use crate::world::Bundle;

pub(crate) fn dev_holds_the_default_nodes_and_links() {
    let bundle = Bundle::of(
        "cd /dev; for f in *; do echo $f $(stat -c '%F %t:%T %a' $f | grep character) $(readlink $f); done",
    );
    let expected = "\
core /proc/kcore
fd /proc/self/fd
full character special file 1:7 666
mqueue
null character special file 1:3 666
ptmx pts/ptmx
pts
random character special file 1:8 666
shm
stderr /proc/self/fd/2
stdin /proc/self/fd/0
stdout /proc/self/fd/1
tty character special file 5:0 666
urandom character special file 1:9 666
zero character special file 1:5 666
";
    assert_eq!(bundle.text(), expected);
}

pub(crate) fn more_devices_are_made_with_their_owner() {
    let mut bundle = Bundle::of("stat -c '%n %F %t:%T %a %u:%g' /dev/mine/fuse /dev/zero /dev/pipe");
    let device = |path: &str, kind: &str, major, minor| Device {
        path: path.into(),
        kind: kind.to_owned(),
        major,
        minor,
        file_mode: Some(0o640),
        uid: Some(5),
        gid: Some(6),
    };
    bundle.linux().devices = vec![
        device("/dev/mine/fuse", "c", 10, 229),
        device("/dev/zero", "c", 1, 5),
        device("/dev/pipe", "p", 0, 0),
    ];
    let expected = "\
/dev/mine/fuse character special file a:e5 640 5:6
/dev/zero character special file 1:5 640 5:6
/dev/pipe fifo 0:0 640 5:6
";
    assert_eq!(bundle.text(), expected);
}

use super::*;

/// Runs a program as the kernel would, for the few operations that are emitted.
fn run(program: &[u64], kind: i32, major: u32, minor: u32, access: u32) -> u64 {
    let context = [access << 16 | kind as u32, major, minor];
    let mut registers = [0_u64; 11];
    let mut at = 0;
    loop {
        let word = program[at];
        let (code, to, from) = (word as u8, (word >> 8 & 0xf) as usize, (word >> 12 & 0xf) as usize);
        let (offset, value) = ((word >> 16) as u16 as i16, (word >> 32) as u32 as i32);
        at += 1;
        let jump = match code {
            LOAD_32 => {
                registers[to] = u64::from(context[offset as usize / 4]);
                false
            }
            MOVE_32 => {
                registers[to] = registers[from] & 0xffff_ffff;
                false
            }
            SET_32 => {
                registers[to] = u64::from(value as u32);
                false
            }
            AND_32 => {
                registers[to] &= u64::from(value as u32);
                false
            }
            SHIFT_RIGHT_32 => {
                registers[to] >>= value;
                false
            }
            JUMP_IF_NOT_EQUAL => registers[to] != value as i64 as u64,
            JUMP_IF_ANY_BIT => registers[to] & (value as i64 as u64) != 0,
            0x05 => true,
            EXIT => return registers[0],
            other => panic!("operation {other:#x}"),
        };
        if jump {
            at = at.checked_add_signed(offset as isize).unwrap();
        }
    }
}

fn of(json: &str) -> Vec<Rule> {
    rules(&serde_json::from_str(&format!(r#"{{"devices": {json}}}"#)).unwrap()).unwrap()
}

fn allowed(rules: &[Rule], kind: char, major: u32, minor: u32, access: u32) -> bool {
    run(&program(rules), if kind == 'b' { BLOCK } else { CHAR }, major, minor, access) == 1
}

#[test]
fn dockers_list_allows_the_defaults_and_refuses_disks() {
    let rules = of(r#"[{"allow": false, "access": "rwm"}]"#);
    for (major, minor) in [(1, 3), (1, 5), (1, 9), (5, 2), (136, 0), (136, 77)] {
        assert!(allowed(&rules, 'c', major, minor, READ | WRITE), "{major}:{minor}");
    }
    for (kind, major, minor) in [('b', 8, 0), ('b', 1, 3), ('c', 1, 1), ('c', 1, 11), ('c', 10, 229)] {
        assert!(!allowed(&rules, kind, major, minor, READ), "{kind} {major}:{minor}");
        assert!(allowed(&rules, kind, major, minor, MKNOD), "{kind} {major}:{minor}");
        assert!(!allowed(&rules, kind, major, minor, READ | MKNOD), "{kind} {major}:{minor}");
    }
}

#[test]
fn accesses_of_several_rules_add_up() {
    let rules =
        of(r#"[{"allow": false}, {"allow": true, "type": "b", "major": 8, "minor": 0, "access": "r"},
            {"allow": true, "type": "b", "major": 8, "access": "w"}]"#);
    assert!(allowed(&rules, 'b', 8, 0, READ | WRITE));
    assert!(allowed(&rules, 'b', 8, 1, WRITE));
    assert!(!allowed(&rules, 'b', 8, 1, READ | WRITE));
}

#[test]
fn a_later_rule_wins() {
    let denied = of(r#"[{"allow": true}, {"allow": false, "type": "c", "major": 10, "minor": 229}]"#);
    assert!(!allowed(&denied, 'c', 10, 229, READ));
    assert!(allowed(&denied, 'c', 10, 228, ALL));
    assert!(allowed(&denied, 'b', 8, 0, ALL));
    let all = of(r#"[{"allow": false, "type": "b", "major": 8}, {"allow": true, "type": "a"}]"#);
    assert_eq!(all.len(), 1);
    assert!(allowed(&all, 'b', 8, 0, ALL));
}

#[test]
fn everything_is_denied_before_the_first_rule() {
    let rules = of(r#"[{"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"}]"#);
    assert!(allowed(&rules, 'c', 10, 200, READ | WRITE));
    assert!(!allowed(&rules, 'c', 10, 201, READ));
    assert!(rules.first() == Some(&DENY_ALL));
    assert!(of("[]").is_empty());
}

#[test]
fn v1_lines_are_as_devices_allow_takes_them() {
    let lines = |json: &str| check(&serde_json::from_str(json).unwrap()).unwrap().v1_lines();
    assert_eq!(lines(r#"{"allow": true, "type": "a", "major": -1, "minor": -1, "access": "rwm"}"#), ["a"]);
    assert_eq!(lines(r#"{"allow": true, "type": "c", "major": 136, "access": "wr"}"#), ["c 136:* rw"]);
    assert_eq!(lines(r#"{"allow": true, "major": 8, "minor": 1, "access": "m"}"#), ["b 8:1 m", "c 8:1 m"]);
}

#[test]
fn nonsense_is_refused() {
    for bad in [
        r#"{"allow": true, "type": "x"}"#,
        r#"{"allow": true, "access": "rx"}"#,
        r#"{"allow": true, "type": "c", "major": -2}"#,
        r#"{"allow": true, "type": "c", "minor": 4294967296}"#,
    ] {
        assert!(check(&serde_json::from_str(bad).unwrap()).is_err(), "{bad}");
    }
}

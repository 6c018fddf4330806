# Completion of tare-runtime for fish: commands, their flags, ids of containers.

# The command that was given, or nothing.
function __tare_runtime_command
    set -l words (commandline -opc)
    set -l value no
    for word in $words[2..-1]
        if test $value = yes
            set value no
            continue
        end
        switch $word
            case --root --log --log-format --rootless --criu
                set value yes
            case '-*'
            case '*'
                echo $word
                return
        end
    end
end

function __tare_runtime_is
    set -l given (__tare_runtime_command)
    test "$given" = "$argv[1]"
end

function __tare_runtime_containers
    set -l words (commandline -opc)
    set -l root (string match -- '--root=*' $words)
    if set -l at (contains -i -- --root $words)
        set root --root $words[(math $at + 1)]
    end
    tare-runtime $root list --quiet 2>/dev/null
end

complete -c tare-runtime -f
complete -c tare-runtime -n '__tare_runtime_is ""' -l root -r -F -d 'where containers are kept; /run/tare-runtime, or $XDG_RUNTIME_DIR/tare-runtime for users'
complete -c tare-runtime -n '__tare_runtime_is ""' -l log -r -F -d 'where errors and warnings are written, too'
complete -c tare-runtime -n '__tare_runtime_is ""' -l log-format -x -a 'text json' -d 'in which form'
complete -c tare-runtime -n '__tare_runtime_is ""' -l debug -d 'more of them'
complete -c tare-runtime -n '__tare_runtime_is ""' -l rootless -x -a 'true false auto' -d 'whether a cgroup that may not be made is done without'
complete -c tare-runtime -n '__tare_runtime_is ""' -l systemd-cgroup -d 'let systemd make the cgroup'
complete -c tare-runtime -n '__tare_runtime_is ""' -l criu -r -F -d 'the program that checkpoints and restores'
complete -c tare-runtime -n '__tare_runtime_is ""' -s v -l version -d 'print the version'
complete -c tare-runtime -n '__tare_runtime_is ""' -s h -l help -d 'print this, or a command\'s flags'
complete -c tare-runtime -n '__tare_runtime_is ""' -a create -d 'make a container; its init waits for the start'
complete -c tare-runtime -n '__tare_runtime_is "create"' -s b -l bundle -r -F -d 'where config.json is; the working directory by default'
complete -c tare-runtime -n '__tare_runtime_is "create"' -l console-socket -r -F -d 'unix socket that is sent the terminal\'s master'
complete -c tare-runtime -n '__tare_runtime_is "create"' -l pidfd-socket -r -F -d 'unix socket that is sent a pidfd of the process'
complete -c tare-runtime -n '__tare_runtime_is "create"' -l pid-file -r -F -d 'where the process id is written'
complete -c tare-runtime -n '__tare_runtime_is "create"' -l preserve-fds -x -d 'pass on N descriptors from 3 (and $LISTEN_FDS before them)'
complete -c tare-runtime -n '__tare_runtime_is "create"' -l no-pivot -d 'chroot instead of pivot_root, for a host whose root is a ramdisk'
complete -c tare-runtime -n '__tare_runtime_is "create"' -l no-new-keyring -d 'keep the caller\'s session keyring'
complete -c tare-runtime -n '__tare_runtime_is ""' -a start -d 'let it run'
complete -c tare-runtime -n '__tare_runtime_is "start"' -a '(__tare_runtime_containers)'
complete -c tare-runtime -n '__tare_runtime_is ""' -a run -d 'both, in the foreground or with --detach; exits with the program\'s exit code'
complete -c tare-runtime -n '__tare_runtime_is "run"' -s b -l bundle -r -F -d 'where config.json is; the working directory by default'
complete -c tare-runtime -n '__tare_runtime_is "run"' -s d -l detach -d 'do not wait for the program'
complete -c tare-runtime -n '__tare_runtime_is "run"' -l keep -d 'do not delete it at its end'
complete -c tare-runtime -n '__tare_runtime_is "run"' -l console-socket -r -F -d 'unix socket that is sent the terminal\'s master'
complete -c tare-runtime -n '__tare_runtime_is "run"' -l pidfd-socket -r -F -d 'unix socket that is sent a pidfd of the process'
complete -c tare-runtime -n '__tare_runtime_is "run"' -l pid-file -r -F -d 'where the process id is written'
complete -c tare-runtime -n '__tare_runtime_is "run"' -l preserve-fds -x -d 'pass on N descriptors from 3 (and $LISTEN_FDS before them)'
complete -c tare-runtime -n '__tare_runtime_is "run"' -l no-pivot -d 'chroot instead of pivot_root, for a host whose root is a ramdisk'
complete -c tare-runtime -n '__tare_runtime_is "run"' -l no-new-keyring -d 'keep the caller\'s session keyring'
complete -c tare-runtime -n '__tare_runtime_is "run"' -l no-subreaper -d 'accepted, without effect'
complete -c tare-runtime -n '__tare_runtime_is ""' -a exec -d 'run another program in a container'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -s p -l process -r -F -d 'everything about it, as process in config.json; no COMMAND then'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -l cwd -r -F -d 'where it runs'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -s e -l env -x -d 'add to its environment; again for more'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -s t -l tty -d 'with a terminal'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -s u -l user -x -d 'as whom'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -s g -l additional-gids -x -d 'add a group; again for more'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -s c -l cap -x -d 'add a capability; again for more'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -l no-new-privs -d 'it can gain no privileges by execve'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -l apparmor -x -d 'under an AppArmor profile'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -l process-label -x -d 'with an SELinux label'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -l cgroup -x -d 'in a group below the container\'s; again for more'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -l ignore-paused -d 'also when the container is paused'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -s d -l detach -d 'do not wait for the program'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -l console-socket -r -F -d 'unix socket that is sent the terminal\'s master'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -l pidfd-socket -r -F -d 'unix socket that is sent a pidfd of the process'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -l pid-file -r -F -d 'where the process id is written'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -l preserve-fds -x -d 'pass on N descriptors from 3 (and $LISTEN_FDS before them)'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -l no-subreaper -d 'accepted, without effect'
complete -c tare-runtime -n '__tare_runtime_is "exec"' -a '(__tare_runtime_containers)'
complete -c tare-runtime -n '__tare_runtime_is ""' -a state -d 'print where a container is in its life, as JSON'
complete -c tare-runtime -n '__tare_runtime_is "state"' -a '(__tare_runtime_containers)'
complete -c tare-runtime -n '__tare_runtime_is ""' -a list -d 'print all containers'
complete -c tare-runtime -n '__tare_runtime_is "list"' -s f -l format -x -a 'table json' -d 'how it is printed'
complete -c tare-runtime -n '__tare_runtime_is "list"' -s q -l quiet -d 'only their ids'
complete -c tare-runtime -n '__tare_runtime_is ""' -a ps -d 'print a container\'s processes'
complete -c tare-runtime -n '__tare_runtime_is "ps"' -s f -l format -x -a 'table json' -d 'how it is printed'
complete -c tare-runtime -n '__tare_runtime_is "ps"' -a '(__tare_runtime_containers)'
complete -c tare-runtime -n '__tare_runtime_is ""' -a kill -d 'send a signal, TERM by default, to its init'
complete -c tare-runtime -n '__tare_runtime_is "kill"' -s a -l all -d 'to all its processes'
complete -c tare-runtime -n '__tare_runtime_is "kill"' -a '(__tare_runtime_containers)'
complete -c tare-runtime -n '__tare_runtime_is ""' -a pause -d 'stop all its processes'
complete -c tare-runtime -n '__tare_runtime_is "pause"' -a '(__tare_runtime_containers)'
complete -c tare-runtime -n '__tare_runtime_is ""' -a resume -d 'let them go on'
complete -c tare-runtime -n '__tare_runtime_is "resume"' -a '(__tare_runtime_containers)'
complete -c tare-runtime -n '__tare_runtime_is ""' -a update -d 'change its limits'
complete -c tare-runtime -n '__tare_runtime_is "update"' -s r -l resources -r -F -d 'as linux.resources in config.json; - is standard input'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l memory -x -d 'with k, m, g; -1 is no limit'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l memory-reservation -x -d 'with k, m, g; -1 is no limit'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l memory-swap -x -d 'with k, m, g; -1 is no limit'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l cpu-quota -x -d 'processor time a period'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l cpu-period -x -d 'processor time a period'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l cpu-burst -x -d 'processor time a period'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l cpu-share -x -d 'its weight beside others'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l cpu-idle -x -a '0 1' -d 'its weight beside others'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l cpu-rt-period -x -d 'real-time processor time'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l cpu-rt-runtime -x -d 'real-time processor time'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l cpuset-cpus -x -d 'which processors and memory nodes'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l cpuset-mems -x -d 'which processors and memory nodes'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l pids-limit -x -d 'how many processes; -1 is no limit'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l blkio-weight -x -d '10 to 1000'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l l3-cache-schema -x -d 'its share of the cache and of memory bandwidth (resctrl)'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l mem-bw-schema -x -d 'its share of the cache and of memory bandwidth (resctrl)'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l kernel-memory -x -d 'accepted, without effect'
complete -c tare-runtime -n '__tare_runtime_is "update"' -l kernel-memory-tcp -x -d 'accepted, without effect'
complete -c tare-runtime -n '__tare_runtime_is "update"' -a '(__tare_runtime_containers)'
complete -c tare-runtime -n '__tare_runtime_is ""' -a events -d 'print what it has used, and killings for want of memory, as lines of JSON, until it ends'
complete -c tare-runtime -n '__tare_runtime_is "events"' -l interval -x -d 'between figures; 5s by default'
complete -c tare-runtime -n '__tare_runtime_is "events"' -l stats -d 'figures once, and no more'
complete -c tare-runtime -n '__tare_runtime_is "events"' -a '(__tare_runtime_containers)'
complete -c tare-runtime -n '__tare_runtime_is ""' -a checkpoint -d 'write it to disk, by criu'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l image-path -r -F -d 'where the images are; checkpoint by default'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l work-path -r -F -d 'where criu\'s log is; the image path by default'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l parent-path -r -F -d 'a checkpoint before, from the image path; only what has changed is written'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l leave-running -d 'it goes on afterwards'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l pre-dump -d 'only its memory; it goes on'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l tcp-established -d 'with open TCP connections'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l tcp-skip-in-flight -d 'without connections that are just being made'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l link-remap -d 'accepted: files that were unlinked are always written'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l ext-unix-sk -d 'with unix sockets that lead out'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l shell-job -d 'with a terminal of the caller\'s'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l file-locks -d 'with locks on files'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l lazy-pages -d 'memory comes when it is asked for'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l page-server -x -d 'send its memory there'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l status-fd -x -d 'criu writes there when lazy pages are ready'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l manage-cgroups-mode -x -d 'soft (default), full, strict or ignore'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l empty-ns -x -d 'the network namespace is made anew and empty'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -l auto-dedup -d 'take out of earlier images what later ones have'
complete -c tare-runtime -n '__tare_runtime_is "checkpoint"' -a '(__tare_runtime_containers)'
complete -c tare-runtime -n '__tare_runtime_is ""' -a restore -d 'let one that was written to disk run again, by criu'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -s b -l bundle -r -F -d 'where config.json is; the working directory by default'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l image-path -r -F -d 'where the images are; checkpoint by default'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l work-path -r -F -d 'where criu\'s log is; the image path by default'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -s d -l detach -d 'do not wait for the program'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l keep -d 'do not delete it at its end'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l console-socket -r -F -d 'unix socket that is sent the terminal\'s master'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l pid-file -r -F -d 'where the process id is written'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l tcp-established -d 'with open TCP connections'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l ext-unix-sk -d 'with unix sockets that lead out'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l shell-job -d 'with a terminal of the caller\'s'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l file-locks -d 'with locks on files'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l lazy-pages -d 'memory comes when it is asked for'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l manage-cgroups-mode -x -d 'soft (default), full, strict or ignore'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l empty-ns -x -d 'the network namespace is made anew and empty'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l auto-dedup -d 'take out of earlier images what later ones have'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l lsm-profile -x -d 'with another label'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l lsm-mount-context -x -d 'with another SELinux context for its mounts'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l no-pivot -d 'accepted, without effect'
complete -c tare-runtime -n '__tare_runtime_is "restore"' -l no-subreaper -d 'accepted, without effect'
complete -c tare-runtime -n '__tare_runtime_is ""' -a delete -d 'remove what is left of it'
complete -c tare-runtime -n '__tare_runtime_is "delete"' -s f -l force -d 'kill it first if it runs'
complete -c tare-runtime -n '__tare_runtime_is "delete"' -a '(__tare_runtime_containers)'
complete -c tare-runtime -n '__tare_runtime_is ""' -a spec -d 'write a config.json to start from'
complete -c tare-runtime -n '__tare_runtime_is "spec"' -s b -l bundle -r -F -d 'where config.json is; the working directory by default'
complete -c tare-runtime -n '__tare_runtime_is "spec"' -l rootless -d 'for a user who has no other ids'
complete -c tare-runtime -n '__tare_runtime_is ""' -a features -d 'print what this runtime knows, as JSON'
complete -c tare-runtime -n '__tare_runtime_is ""' -a shim -d 'be the process beside a container (for tared)'
complete -c tare-runtime -n '__tare_runtime_is "shim"' -F

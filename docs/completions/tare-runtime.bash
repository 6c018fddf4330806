# Completion of tare-runtime for bash: commands, their flags, ids of containers.
_tare_runtime() {
    local word=${COMP_WORDS[COMP_CWORD]} command="" root="" flags="" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --root) root=${COMP_WORDS[++i]} ;;
        --root=*) root=${COMP_WORDS[i]#--root=} ;;
        --log | --log-format | --rootless | --criu) ((i++)) ;;
        -*) ;;
        *) command=${COMP_WORDS[i]}; break ;;
        esac
    done
    case $command in
    "") flags="--criu --debug --help --log --log-format --root --rootless --systemd-cgroup --version" ;;
    create) flags="--bundle --console-socket --no-new-keyring --no-pivot --pid-file --pidfd-socket --preserve-fds" ;;
    start) flags="" ;;
    run) flags="--bundle --console-socket --detach --keep --no-new-keyring --no-pivot --no-subreaper --pid-file --pidfd-socket --preserve-fds" ;;
    exec) flags="--additional-gids --apparmor --cap --cgroup --console-socket --cwd --detach --env --ignore-paused --no-new-privs --no-subreaper --pid-file --pidfd-socket --preserve-fds --process --process-label --tty --user" ;;
    state) flags="" ;;
    list) flags="--format --quiet" ;;
    ps) flags="--format" ;;
    kill) flags="--all" ;;
    pause) flags="" ;;
    resume) flags="" ;;
    update) flags="--blkio-weight --cpu-burst --cpu-idle --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-share --cpuset-cpus --cpuset-mems --kernel-memory --kernel-memory-tcp --l3-cache-schema --mem-bw-schema --memory --memory-reservation --memory-swap --pids-limit --resources" ;;
    events) flags="--interval --stats" ;;
    checkpoint) flags="--auto-dedup --empty-ns --ext-unix-sk --file-locks --image-path --lazy-pages --leave-running --link-remap --manage-cgroups-mode --page-server --parent-path --pre-dump --shell-job --status-fd --tcp-established --tcp-skip-in-flight --work-path" ;;
    restore) flags="--auto-dedup --bundle --console-socket --detach --empty-ns --ext-unix-sk --file-locks --image-path --keep --lazy-pages --lsm-mount-context --lsm-profile --manage-cgroups-mode --no-pivot --no-subreaper --pid-file --shell-job --tcp-established --work-path" ;;
    delete) flags="--force" ;;
    spec) flags="--bundle --rootless" ;;
    features) flags="" ;;
    shim) flags="" ;;
    esac
    if [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$word"))
    elif [[ -z $command ]]; then
        COMPREPLY=($(compgen -W "create start run exec state list ps kill pause resume update events checkpoint restore delete spec features shim" -- "$word"))
    else
        COMPREPLY=($(compgen -W "$(tare-runtime ${root:+--root "$root"} list --quiet 2>/dev/null)" -- "$word"))
    fi
}
complete -o default -F _tare_runtime tare-runtime

/* Compiles rules with libseccomp, for comparison. The first line is the default action; then one rule a line: NAME ACTION
 * [INDEX OPERATOR A B]...; the filter goes to standard output. Actions are the kernel's return values. Test only: nothing that is shipped links libseccomp. */
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
    char line[4096];
    if (!fgets(line, sizeof line, stdin)) return 1;
    unsigned long otherwise = strtoul(line, NULL, 10);
    scmp_filter_ctx ctx = seccomp_init(otherwise);
    if (!ctx || seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS)) return 2;
    if (seccomp_arch_add(ctx, SCMP_ARCH_X86) || seccomp_arch_add(ctx, SCMP_ARCH_X32)) return 3;
    while (fgets(line, sizeof line, stdin)) {
        struct scmp_arg_cmp args[6];
        unsigned count = 0;
        char *word = strtok(line, " \n");
        int call = seccomp_syscall_resolve_name(word);
        if (call == __NR_SCMP_ERROR) return 4;
        unsigned long action = strtoul(strtok(NULL, " \n"), NULL, 10);
        if (action == otherwise) continue;
        while ((word = strtok(NULL, " \n")) && count < 6) {
            args[count].arg = strtoul(word, NULL, 10);
            args[count].op = strtoul(strtok(NULL, " \n"), NULL, 10);
            args[count].datum_a = strtoull(strtok(NULL, " \n"), NULL, 10);
            args[count].datum_b = strtoull(strtok(NULL, " \n"), NULL, 10);
            count++;
        }
        int refused = seccomp_rule_add_array(ctx, action, call, count, args);
        if (refused && refused != -17 /* EEXIST */) { fprintf(stderr, "%d\n", refused); return 5; }
    }
    return seccomp_export_bpf(ctx, 1) ? 6 : 0;
}

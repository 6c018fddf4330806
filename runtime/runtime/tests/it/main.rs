//! Containers on the real kernel, each in a temporary directory, with busybox as their whole userland.
//!
//! `clone3` needs a caller of one thread, so these tests run one after the other on a harness of a few lines.

// Without the standard harness the compiler does not know that these are tests.
#![allow(clippy::unwrap_used)]

mod begin;
mod confine;
mod devices;
mod enter;
mod files;
mod filters;
mod groups;
mod mounts;
mod moved;
mod schedule;
mod share;
mod world;

use std::panic::catch_unwind;
use std::process::ExitCode;

/// One test: its name and what it does.
type Test = (&'static str, fn());

macro_rules! tests {
    ($($module:ident::$name:ident),* $(,)?) => {
        [$((concat!(stringify!($module), "::", stringify!($name)), $module::$name as fn())),*]
    };
}

fn all() -> Vec<Test> {
    tests![
        begin::init_is_pid_1_with_its_own_names_and_no_other_process,
        begin::exit_codes_and_signals_come_out,
        begin::a_missing_command_is_127_in_dockers_words,
        begin::what_is_not_executable_is_126_in_dockers_words,
        begin::a_working_directory_is_made_and_entered,
        begin::home_comes_from_passwd_unless_given,
        begin::a_failing_mount_names_its_step_and_leaves_nothing,
        begin::a_container_that_is_never_started_goes_with_its_creator,
        begin::output_survives_and_nothing_waits_before_start,
        begin::a_terminal_is_the_containers_own,
        begin::a_network_namespace_is_joined_and_left,
        begin::clocks_are_set_off,
        confine::capabilities_are_exactly_those_asked_and_none_inheritable,
        confine::user_and_groups_are_exact,
        confine::masked_paths_read_as_nothing,
        confine::readonly_paths_refuse_writes,
        confine::descriptors_are_the_three_and_those_preserved,
        confine::init_holds_nothing_of_the_caller_before_start,
        confine::a_working_directory_through_a_descriptor_is_refused,
        confine::dev_proc_and_sys_as_links_are_refused,
        confine::a_link_in_the_image_keeps_a_mount_inside,
        confine::a_false_null_device_hides_nothing_and_is_refused,
        confine::seccomp_denies_with_and_without_new_privileges,
        confine::the_default_profile_lets_ordinary_programs_run,
        confine::a_racing_link_never_leads_a_mount_outside,
        confine::a_user_namespace_maps_ids,
        confine::sysctls_are_the_containers_only,
        confine::limits_are_set_or_warned_about,
        confine::nothing_of_the_host_is_mounted_inside,
        confine::the_runtime_cannot_be_written_through_proc,
        devices::dev_holds_the_default_nodes_and_links,
        devices::more_devices_are_made_with_their_owner,
        enter::exec_joins_everything,
        enter::exec_has_the_same_errors,
        enter::exec_gets_a_terminal,
        enter::exec_into_a_user_namespace,
        enter::exec_cannot_leave_through_its_working_directory,
        files::layers_are_stacked_unseen_by_the_host,
        files::hundreds_of_layers_work,
        files::binds_of_files_and_directories,
        files::a_readonly_root_stays_so,
        filters::each_action_does_what_it_says,
        filters::every_flag_is_taken,
        filters::an_agent_is_sent_the_listener_and_the_state,
        filters::an_agent_hears_of_exec_as_well,
        filters::a_profile_that_allows_little_and_an_agent_that_is_not_there,
        groups::cgroups_show_the_container_itself,
        groups::its_group_is_the_root_of_its_cgroup_namespace,
        groups::exec_is_counted_with_the_container,
        groups::a_group_that_takes_nobody_is_named,
        mounts::owners_are_shown_as_an_id_map_says,
        mounts::an_id_map_is_that_of_the_containers_user_namespace_unless_given,
        mounts::recursive_attributes_reach_what_is_mounted_below,
        mounts::mounts_spread_as_asked,
        mounts::a_tmpfs_begins_with_what_it_covers_if_asked,
        mounts::a_remount_changes_what_is_mounted_there,
        mounts::an_overlay_and_parameters_of_file_systems_are_mounted,
        moved::an_interface_is_moved_in_with_its_addresses,
        moved::an_interface_that_is_not_there_is_named,
        moved::a_class_of_service_needs_resctrl,
        schedule::a_scheduler_is_set,
        schedule::an_io_priority_and_a_personality_are_set,
        schedule::exec_is_pinned_to_processors,
        schedule::memory_is_taken_where_the_policy_says,
        schedule::a_label_that_nobody_would_enforce_is_refused,
        schedule::a_capability_of_tomorrow_is_a_warning,
        share::a_user_namespace_is_joined_and_owns_what_is_new,
        share::all_but_the_mounts_is_shared_and_entered_by_exec,
        share::a_process_id_namespace_is_shared_with_the_host_or_another,
        share::a_container_may_have_nothing_of_its_own_but_mounts,
        share::a_mount_namespace_is_joined,
        share::without_one_the_root_is_all_that_it_has_and_the_host_is_unchanged,
        share::what_would_be_mounted_on_the_host_is_refused,
        share::the_hosts_own_root_is_a_root_like_others,
        share::what_is_not_that_namespace_is_refused_before_anything_is_made,
    ]
    .to_vec()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let exact = arguments.iter().any(|a| a == "--exact");
    let wanted = |test: &Test| {
        names.is_empty()
            || names.iter().any(|name| if exact { test.0 == *name } else { test.0.contains(name.as_str()) })
    };
    let tests: Vec<Test> = all().into_iter().filter(wanted).collect();
    if arguments.iter().any(|a| a == "--list") {
        let ignored = arguments.iter().any(|a| a == "--ignored");
        tests.iter().filter(|_| !ignored).for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() || world::busybox().is_none() {
        println!("skipped: needs root and /bin/busybox (busybox-static)");
        return ExitCode::SUCCESS;
    }
    world::leave_the_hosts_mounts();
    let failed = tests.iter().filter(|(name, test)| {
        let failed = catch_unwind(test).is_err();
        println!("test {name} ... {}", if failed { "FAILED" } else { "ok" });
        failed
    });
    match failed.count() {
        0 => ExitCode::SUCCESS,
        some => {
            println!("{some} of {} failed", tests.len());
            ExitCode::FAILURE
        }
    }
}

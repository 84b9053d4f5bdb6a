//! What every storage engine must do, as test cases over `Arc<dyn Storage>`.
//!
//! To run an engine through the suite, implement [`Engine`] for it and call `conformance_tests!` in a module of its
//! own with an expression that makes a fresh one (see `tests/it/storage.rs`).

pub(crate) mod assertions;
pub(crate) mod audit;
pub(crate) mod blobs;
pub(crate) mod changes;
pub(crate) mod claims;
pub(crate) mod commits;
pub(crate) mod decisions;
pub(crate) mod fleet;
pub(crate) mod ledger;
pub(crate) mod numbers;
pub(crate) mod registry;
pub(crate) mod samples;
pub(crate) mod transfer;

use std::future::Future;
use std::sync::Arc;

use hallmark::ports::Storage;

/// An engine with one database that starts empty.
#[async_trait::async_trait]
pub(crate) trait Engine: Send + Sync {
    /// Opens the database, as a process does at its start. Before it is called again the storage it gave last is
    /// either closed and dropped, or just dropped; the latter stands for a crash.
    async fn open(&self) -> Arc<dyn Storage>;

    /// Whether several processes may have it open at the same time.
    fn shared(&self) -> bool {
        false
    }
}

/// Runs `tasks` copies of a future at the same time and gives their results in order of start.
pub(crate) async fn race<T, F>(tasks: usize, start: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let running: Vec<_> = (0..tasks).map(|number| tokio::spawn(start(number))).collect();
    let mut results = Vec::new();
    for task in running {
        results.push(task.await.expect("a racing task"));
    }
    results
}

/// Closes `storage` and opens the database again.
pub(crate) async fn restart(engine: &dyn Engine, storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
    storage.close().await.expect("close");
    drop(storage);
    engine.open().await
}

/// Makes one test per case. `$engine` is evaluated anew for each.
#[macro_export]
macro_rules! conformance_tests {
    ($engine:expr) => {
        $crate::conformance_cases! { $engine;
            registry: a_record_is_created_replaced_and_deleted_by_version,
            an_invite_is_found_by_its_secret_until_it_is_accepted,
            letters_wait_in_order_of_time_and_are_claimed_by_one,
            parts_of_sources_are_found_one_by_one,
            a_unique_value_belongs_to_one_record, a_unique_value_is_free_again_after_change_or_deletion,
            records_are_listed_by_key_prefix_in_order, records_of_an_account_are_found_among_those_of_others, one_of_many_racing_creations_wins,
            racing_replacements_of_one_version_let_one_through, records_survive_a_restart,
            reviews_are_found_by_their_file_until_it_is_approved, grants_wait_by_snap, overrides_are_listed_by_store_and_snap;
            numbers: parts_of_days_are_read_in_order_from_anywhere, numbers_are_written_with_the_report_or_not_at_all;
            fleet: a_tag_has_one_open_wave, a_rollout_is_kept_whole_or_not_at_all, devices_are_read_page_by_page;
            changes: what_changed_is_told_from_a_mark_on, a_commit_is_told_as_a_whole, nothing_is_missed_among_many;
            commits: a_commit_with_one_bad_part_writes_nothing, later_changes_of_a_commit_see_the_earlier_ones,
            serials_of_a_commit_come_with_all_of_it_or_not_at_all,
            a_nonce_is_spent_once, the_generation_grows_with_commits, a_closed_storage_answers_unavailable;
            assertions: an_assertion_is_found_up_to_a_format, older_revisions_are_refused_or_skipped,
            assertions_are_listed_by_key_prefix_in_order, sequences_are_ordered_as_numbers,
            assertions_survive_a_restart_byte_for_byte;
            claims: racing_claims_for_one_serial_get_dense_revisions, a_request_id_buys_exactly_one_serial,
            a_request_id_is_good_to_its_last_second, the_policy_allow_gives_a_new_revision_to_anyone,
            the_policy_same_key_only_refuses_other_keys, the_policy_deny_refuses_a_second_time,
            an_allow_list_lets_only_its_serials_through, a_denied_serial_is_refused_whatever_the_policy,
            a_quota_counts_distinct_serials, racing_claims_do_not_exceed_a_quota,
            a_refusal_spends_the_request_id_for_good, revisions_start_above_a_floor;
            decisions: an_approval_is_polled_with_an_expired_request_id, a_rejected_request_is_refused,
            an_approval_is_good_for_one_serial_of_one_key, only_a_waiting_request_is_decided,
            standings_are_listed_by_serial, judgements_survive_a_restart;
            ledger: an_issued_serial_is_recorded, a_reservation_is_completed_once, a_void_place_stays_as_a_hole,
            open_reservations_are_there_after_a_crash_or_never_were, a_reservation_belongs_to_the_process_that_made_it,
            rows_are_filtered_counted_and_paged,
            numbers_follow_the_rows, loaded_rows_get_new_positions, a_row_is_not_loaded_twice,
            an_issued_row_takes_the_place_of_a_void_one,
            issued_serials_survive_a_crash, spent_request_ids_survive_a_restart;
            audit: entries_of_a_commit_form_a_chain, a_chain_has_no_gaps_under_concurrency,
            every_start_begins_a_chain_of_its_own, entries_are_filtered_and_paged,
            checkpoints_are_numbered_without_gaps, two_processes_write_two_chains;
            transfer: what_comes_out_goes_in_elsewhere, what_an_engine_holds_goes_elsewhere,
            nothing_is_copied_over_what_is_there, a_copy_is_of_one_moment;
        }
    };
}

/// Like [`conformance_tests`], for stores of files; `$engine` implements [`blobs::BlobEngine`].
#[macro_export]
macro_rules! blob_conformance_tests {
    ($engine:expr) => {
        $crate::conformance_cases! { $engine;
            blobs: a_kept_file_is_read_back, digests_do_not_depend_on_the_pieces, a_staged_file_has_a_path_until_dropped,
            a_file_that_was_not_kept_is_not_there, any_part_of_a_file_is_streamed, keeping_twice_keeps_one,
            a_kept_file_is_opened_again,
            files_are_listed_by_name_with_their_age, only_old_files_are_removed, an_open_file_outlives_its_removal,
            kept_files_survive_a_restart, many_files_come_in_and_go_out_at_once;
        }
    };
}

/// See [`conformance_tests`].
#[macro_export]
macro_rules! conformance_cases {
    ($engine:expr; $($module:ident: $($case:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let engine = $engine;
                $crate::conformance::$module::$case(&engine).await;
            }
        )+)+
    };
}

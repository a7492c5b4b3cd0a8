"""The known differences of each target from AWS, by test. README.md shows them as a table.

A test without [parameters] stands for all of its parametrizations.
"""


def because(reason, file, *tests):
    """The entries of tests of one file that have one reason."""
    return {f"{file}.py::{test}": reason for test in tests}


LOCALCLOUD = {
    **because("has no FIFO queues", "test_sqs_queues", "test_fifo_queues_can_be_created"),
    **because("does not put the file's name for ${filename} in a form's key",
              "test_s3_objects", "test_a_presigned_form_may_leave_the_name_to_the_file"),
}

STATES = "starts and stops instances in any state, also stopping and terminated ones"

EC2 = {
    **because("returns InvalidInstanceID.NotFound for malformed identifiers",
              "test_ec2_errors", "test_a_malformed_instance_id"),
    **because("launches images that do not exist", "test_ec2_errors", "test_an_absent_image"),
    **because("does not check MinCount and MaxCount", "test_ec2_errors", "test_invalid_counts"),
    **because("accepts user data of more than 16 KiB", "test_ec2_errors", "test_user_data_has_at_most_16_kib"),
    **because("does not check the bounds of MaxResults",
              "test_ec2_errors", "test_pages_have_at_least_5_results_and_no_ids"),
    **because("returns status 500 to filters that it does not know, and does not know some of AWS's",
              "test_ec2_filters_tags", "test_filters_select_by_properties", "test_an_unknown_filter_is_refused"),
    **because("accepts tag keys of more than 128 characters, and keys that begin with aws:",
              "test_ec2_filters_tags", "test_tags_have_limits"),
    **because("registers several images with one name", "test_ec2_images", "test_two_images_cannot_have_one_name"),
    **because(STATES, "test_ec2_instances", "test_an_instance_stops_starts_and_terminates",
              "test_a_terminated_instance_stays_terminated"),
    **because(STATES, "test_ec2_images", "test_a_stopping_instance_cannot_be_started"),
    **because("ignores ClientToken, so that a request sent twice launches twice",
              "test_ec2_instances", "test_a_client_token_launches_once"),
    **because("runs nothing, and always returns the same console output",
              "test_ec2_instances", "test_the_console_shows_the_output_of_the_machine"),
    **because("does not change InstanceInitiatedShutdownBehavior",
              "test_ec2_instances", "test_attributes_are_described_and_changed"),
    **because("ends instances that are protected by DisableApiTermination",
              "test_ec2_instances", "test_an_instance_may_be_protected_from_termination"),
    **because("changes the type of running instances",
              "test_ec2_instances", "test_the_type_of_a_stopped_instance_may_be_changed"),
}

ACCOUNT = {
    **because("gives users identifiers that do not begin with AIDA", "test_account", "test_a_user_is_created_once"),
    **because("does not know AWS's managed policies by default", "test_account", "test_policies_are_attached_to_users"),
    **because("does not know AWS's managed policies by default",
              "test_account", "test_a_managed_policy_of_aws_is_attached_to_a_role"),
    **because("deletes policies that are attached", "test_account", "test_a_policy_of_the_account_is_attached_to_a_role"),
    **because("ignores MaxRecords of DescribeAlarms", "test_account", "test_alarms_come_in_pages"),
    **because("accepts any ComparisonOperator of an alarm", "test_account", "test_an_operator_of_an_alarm_is_checked"),
}

CLOUDWATCH = {
    **because("has no percentiles", "test_cloudwatch", "test_percentiles_are_extended_statistics"),
    **because("ignores MaxDatapoints", "test_cloudwatch", "test_data_come_in_pages"),
    **because("does not check time ranges, periods, identifiers and data",
              "test_cloudwatch", "test_queries_are_checked", "test_ids_of_data_are_unique", "test_data_are_checked"),
    **because("evaluates no alarm on a metric: each is OK", "test_cloudwatch",
              "test_an_alarm_is_evaluated", "test_an_alarm_without_data_has_insufficient_data"),
}

LOGS = {
    **because("hardly checks names of groups and days of retention",
              "test_logs", "test_a_name_of_a_group_is_checked", "test_retention_has_certain_days"),
    **because("includes the end of GetLogEvents", "test_logs", "test_the_end_of_get_log_events_is_not_included"),
    **because("returns the events of FilterLogEvents stream by stream",
              "test_logs", "test_events_of_all_streams_are_in_order_of_time"),
    **because("returns all events for patterns other than terms", "test_logs", *(
        f"test_patterns_choose_events[{pattern}]" for pattern in ("any", "none", "json", "number"))),
    **because("returns an index of rejected events that is too low by one",
              "test_logs", "test_events_that_are_too_old_are_rejected"),
}

S3 = {
    **because("checks only the length of buckets' names", "test_s3_buckets", *(
        f"test_bucket_names_are_limited[{bad}]" for bad in ("Upper", "under_score", "192.168.1.1"))),
    **because("does not count common prefixes toward MaxKeys of ListObjects",
              "test_s3_buckets", "test_the_older_listing_has_markers"),
    **because("returns 404 when a key with a line break is put",
              "test_s3_buckets", "test_odd_keys_are_listed_as_they_are"),
    **because("does not return PartsCount when a part is read",
              "test_s3_multipart", "test_a_part_is_read_by_its_number"),
    **because("completes uploads whose parts are not in order",
              "test_s3_multipart", "test_parts_have_to_be_there_and_in_order"),
    **because("returns status 500 to a part of an aborted upload",
              "test_s3_multipart", "test_an_upload_is_listed_and_aborted"),
    **because("leaves the sequencer out of events",
              "test_s3_notifications", "test_what_matches_is_told_in_the_event_format"),
    **because("does not check that a notification's queue exists",
              "test_s3_notifications", "test_a_queue_that_is_not_there_is_refused"),
    **because("accepts keys of more than 1024 bytes", "test_s3_objects", "test_a_key_has_at_most_1024_bytes"),
    **because("ignores Quiet of DeleteObjects", "test_s3_objects", "test_many_objects_are_deleted_at_once"),
    **because("does not verify checksums", "test_s3_objects", "test_a_wrong_checksum_is_refused"),
    **because("does not check a form's policy", "test_s3_objects", "test_a_presigned_form_limits_the_size"),
}

LAMBDA = because("adds a second statement with the same identifier",
                 "test_lambda", "test_permissions_are_statements_of_a_policy")

SIGNATURES = {
    **because("does not check signatures, keys and lifetimes by default",
              "test_signatures", "test_a_wrong_secret_is_refused", "test_an_unknown_key_is_refused",
              "test_a_presigned_url_expires", "test_a_presigned_url_cannot_be_changed"),
    **because("refuses unsigned requests without the error's XML", "test_signatures", "test_an_unsigned_request_is_refused"),
}

SQS = {
    **because("hardly checks message attributes", "test_sqs_errors",
              *(f"test_message_attributes_have_types[attribute{number}]" for number in (1, 2)),
              *(f"test_message_attributes_have_names[{bad}]" for bad in ("AWS.x", "a..b", ".a")),
              "test_a_message_has_at_most_ten_attributes"),
    **because("accepts a MessageDeduplicationId for a standard queue",
              "test_sqs_errors", "test_deduplication_is_for_fifo_queues"),
    **because("does not return MD5OfMessageSystemAttributes",
              "test_sqs_messages", "test_the_trace_header_is_a_system_attribute"),
    **because("changes the visibility of messages that are not in flight",
              "test_sqs_messages", "test_visibility_of_a_message_not_in_flight_cannot_be_changed"),
    **because("does not count attributes toward MaximumMessageSize",
              "test_sqs_messages", "test_messages_are_limited_in_size_attributes_included"),
    **because("accepts characters that XML cannot have", "test_sqs_messages", "test_characters_outside_xml_are_refused"),
    **because("returns timestamps of queues with fractions of seconds",
              "test_sqs_queues", "test_a_new_queue_has_the_standard_attributes"),
    **because("does not check the names and bounds of queues' attributes",
              "test_sqs_queues", "test_attributes_have_bounds", "test_an_unknown_attribute_is_refused"),
    **because("does not return DeadLetterQueueSourceArn",
              "test_sqs_redrive", "test_a_message_received_too_often_is_in_the_dead_letter_queue"),
    **because("returns NonExistentQueue if the dead-letter queue does not exist; AWS: InvalidParameterValue",
              "test_sqs_redrive", "test_a_redrive_policy_names_a_queue_that_exists"),
    **because("returns all of a dead-letter queue's sources at once, without pages",
              "test_sqs_redrive", "test_the_sources_of_a_dead_letter_queue_come_in_pages"),
    **because("has no RedriveAllowPolicy", "test_sqs_redrive", "test_a_dead_letter_queue_may_choose_its_sources",
              "test_a_redrive_allow_policy_is_checked"),
    **because("has no message move tasks", "test_sqs_redrive", "test_dead_messages_are_moved_back",
              "test_a_move_task_is_cancelled_while_it_runs", "test_only_a_dead_letter_queue_has_move_tasks"),
}

DIFFERENCES = {"localcloud": LOCALCLOUD,
               "moto": {**EC2, **ACCOUNT, **CLOUDWATCH, **LOGS, **S3, **LAMBDA, **SIGNATURES, **SQS}}

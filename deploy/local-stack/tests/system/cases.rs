//! # The cases, one file a theme
//!
//! Every case stands in [`CASES`] by the sentence that it proves. What a lane cannot give to a case makes it *ignored*,
//! with the reason; it is never passed for that.

mod broker_down;
mod command;
mod consumers;
mod killed_consumer;
mod killed_order_service;
mod lanes;
mod positions;
mod real_kafka;
mod refusals;
mod repeats;
mod sale;
mod scaling;
mod stopped_consumer;
mod topics_command;
mod wire_form;

use std::pin::Pin;

use crate::scene::Scene;

pub(crate) type Ending = Pin<Box<dyn Future<Output = ()>>>;

/// A case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) play: Play,
}

/// What a case cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// It runs in either lane.
    Nothing,
    /// Only where the servers are containers.
    Docker,
}

/// What a case plays in.
#[derive(Clone, Copy)]
pub(crate) enum Play {
    /// A database, a topic and a group of its own, on the servers that all share.
    OnScene(fn(Scene) -> Ending),
    /// Nothing of ours: it brings what it needs, and the shared servers are not started for it.
    Alone(fn() -> Ending),
}

impl Case {
    const fn on_scene(name: &'static str, play: fn(Scene) -> Ending) -> Self {
        Self { name, needs: Needs::Nothing, play: Play::OnScene(play) }
    }

    const fn alone(name: &'static str, play: fn() -> Ending) -> Self {
        Self { name, needs: Needs::Nothing, play: Play::Alone(play) }
    }

    const fn in_docker(self) -> Self {
        Self { needs: Needs::Docker, ..self }
    }
}

/// All of them.
pub(crate) const CASES: [Case; 34] = [
    Case::on_scene("an_order_arrives_in_its_exact_wire_form", |scene| Box::pin(wire_form::exact(scene))),
    Case::on_scene("a_consumer_shows_the_event_as_the_demonstration_does", |scene| {
        Box::pin(wire_form::shown(scene))
    }),
    Case::on_scene("a_refused_order_publishes_nothing_and_takes_nothing", |scene| {
        Box::pin(refusals::take_nothing(scene))
    }),
    Case::on_scene("a_flash_sale_sells_what_there_is_once_and_delivers_it", |scene| {
        Box::pin(sale::sells_what_there_is(scene))
    }),
    Case::on_scene("a_repeated_request_key_buys_once", |scene| Box::pin(repeats::buy_once(scene))),
    Case::on_scene("an_order_committed_before_a_sigkill_is_published_after_it", |scene| {
        Box::pin(killed_order_service::before_sending(scene))
    }),
    Case::on_scene("an_order_that_could_not_be_sent_before_a_sigkill_is_published_after_it", |scene| {
        Box::pin(killed_order_service::while_the_broker_is_away(scene))
    }),
    Case::on_scene("orders_go_on_while_the_broker_is_down_and_arrive_when_it_is_back", |scene| {
        Box::pin(broker_down::orders_go_on(scene))
    }),
    Case::on_scene("consumers_that_become_six_and_two_and_are_replaced_keep_every_key_in_order", |scene| {
        Box::pin(scaling::keeps_every_key_in_order(scene))
    }),
    Case::on_scene("consumers_that_become_six_and_two_and_are_replaced_repeat_nothing", |scene| {
        Box::pin(scaling::repeats_nothing(scene))
    })
    .in_docker(),
    Case::on_scene(
        "a_consumer_that_is_killed_with_a_hundred_slow_calls_out_of_order_skips_nothing",
        |scene| Box::pin(killed_consumer::skips_nothing(scene)),
    ),
    Case::on_scene("two_consumers_share_the_partitions", |scene| Box::pin(consumers::share(scene))),
    Case::on_scene("the_other_consumer_finishes_the_share_of_a_killed_one", |scene| {
        Box::pin(consumers::one_is_killed(scene))
    }),
    Case::on_scene("a_consumer_that_wakes_after_its_session_leaves_the_others_positions_alone", |scene| {
        Box::pin(consumers::one_is_frozen_for_longer_than_its_session(scene))
    }),
    Case::on_scene(
        "a_stopped_consumer_has_committed_what_it_delivered_and_its_successor_delivers_the_rest",
        |scene| Box::pin(stopped_consumer::balances(scene)),
    ),
    Case::on_scene(
        "the_topics_command_creates_what_is_missing_as_it_is_wanted_and_finds_it_again",
        |scene| Box::pin(topics_command::creates(scene)),
    )
    .in_docker(),
    Case::on_scene("the_topics_command_refuses_less_than_is_wanted_and_names_each_difference", |scene| {
        Box::pin(topics_command::refuses_less(scene))
    })
    .in_docker(),
    Case::on_scene(
        "the_topics_command_says_how_many_brokers_there_are_when_the_replicas_need_more",
        |scene| Box::pin(topics_command::lacks_brokers(scene)),
    )
    .in_docker(),
    Case::on_scene("a_topic_that_is_missing_holds_up_no_order_and_all_arrive_when_it_is_there", |scene| {
        Box::pin(real_kafka::topic_comes_later(scene))
    })
    .in_docker(),
    Case::on_scene("partitions_that_are_added_are_read_from_their_beginning", |scene| {
        Box::pin(real_kafka::partitions_are_added(scene))
    })
    .in_docker(),
    Case::on_scene("a_kafka_that_is_killed_in_the_middle_of_a_sale_loses_no_order", |scene| {
        Box::pin(real_kafka::killed_under_load(scene))
    })
    .in_docker(),
    Case::on_scene("a_topic_that_is_deleted_and_later_created_anew_is_written_and_read", |scene| {
        Box::pin(real_kafka::topic_is_created_anew(scene))
    })
    .in_docker(),
    Case::on_scene("a_consumer_that_was_stopped_is_no_member_of_the_group_any_more", |scene| {
        Box::pin(consumers::one_stops_and_is_no_member(scene))
    })
    .in_docker(),
    Case::on_scene("a_consumer_with_a_name_that_is_restarted_keeps_its_partitions", |scene| {
        Box::pin(consumers::one_with_a_name_is_restarted(scene))
    })
    .in_docker(),
    Case::on_scene("a_position_that_retention_took_is_set_once_the_group_is_stopped_and_read_on", |scene| {
        Box::pin(positions::lost_and_set(scene))
    })
    .in_docker(),
    Case::alone("the_command_ends_with_0_once_every_order_arrived", || Box::pin(command::once())),
    Case::on_scene("the_command_takes_a_real_kafka_and_postgresql_of_ones_own", |scene| {
        Box::pin(command::on_real_servers(scene))
    })
    .in_docker(),
    Case::alone("a_killed_service_is_started_again_on_its_port", || Box::pin(command::comes_back())),
    Case::alone("a_killed_command_leaves_no_process_and_no_folder", || Box::pin(command::killed())),
    Case::alone("a_lane_that_is_unknown_is_refused", || Box::pin(lanes::unknown())),
    Case::alone("docker_that_is_asked_for_and_does_not_answer_is_a_failure", || Box::pin(lanes::no_engine())),
    Case::alone("an_engine_that_cannot_provide_the_images_is_a_failure", || Box::pin(lanes::no_images())),
    Case::alone("without_docker_a_case_that_needs_it_is_ignored_with_the_reason", || {
        Box::pin(lanes::ignored())
    }),
    Case::alone("a_killed_test_run_leaves_no_container_and_no_volume", || Box::pin(lanes::killed()))
        .in_docker(),
];

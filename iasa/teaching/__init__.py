"""Checkers of the notebooks' exercises: each says which property an answer lacks (numpy and torch alone).

`yours` is what a notebook goes on with: a student's own function, once it passed.
"""

from iasa.teaching.answers import yours
from iasa.teaching.frames import check_choose_past, check_frame_mask, check_pose_distance, check_rigid_fit
from iasa.teaching.gesture import (
    check_best_lag,
    check_cut_windows,
    check_move_entries,
    check_moving_mean,
    check_nearest_entry,
)
from iasa.teaching.lab import check_drift_rate, check_forced_mask, check_free_run, check_student_turns
from iasa.teaching.large_model import check_attend, check_pool_poses, check_speed_up, check_step_flops
from iasa.teaching.neighbours import (
    check_broadcast_table,
    check_cluster_blocks,
    check_forcing_step,
    check_monarch_attention,
    check_pose_pairs,
)
from iasa.teaching.parts import (
    check_density_formula,
    check_mls_weights,
    check_share_region,
    check_token_mask,
    check_warp_place,
)
from iasa.teaching.past import (
    check_detail_change,
    check_first_shown,
    check_oracle_frames,
    check_paired_interval,
)
from iasa.teaching.people import check_find_runs, check_passes, check_psnr_inside, check_rank_correlation
from iasa.teaching.realtime import (
    check_choose_blocks,
    check_count_keys,
    check_frame_rate,
    check_last_use,
    check_start_delay,
)
from iasa.teaching.speed import (
    check_block_attention,
    check_online_attention,
    check_pool_blocks,
    check_sort_tokens,
    check_to_csr,
)
from iasa.teaching.student import (
    check_critic_step,
    check_dmd_gradient,
    check_region_loss,
    check_score,
    check_surrogate,
)
from iasa.teaching.teacher import check_euler, check_guide, check_mix_noise, check_velocity
from iasa.teaching.tokens import check_count_tokens, check_dense_flops, check_locate, check_token_of
from iasa.teaching.verdict import WrongAnswer

__all__ = [
    "WrongAnswer",
    "check_attend",
    "check_best_lag",
    "check_block_attention",
    "check_broadcast_table",
    "check_choose_blocks",
    "check_choose_past",
    "check_cluster_blocks",
    "check_count_keys",
    "check_count_tokens",
    "check_critic_step",
    "check_cut_windows",
    "check_dense_flops",
    "check_density_formula",
    "check_detail_change",
    "check_dmd_gradient",
    "check_drift_rate",
    "check_euler",
    "check_find_runs",
    "check_first_shown",
    "check_forced_mask",
    "check_forcing_step",
    "check_frame_mask",
    "check_frame_rate",
    "check_free_run",
    "check_guide",
    "check_last_use",
    "check_locate",
    "check_mix_noise",
    "check_mls_weights",
    "check_monarch_attention",
    "check_move_entries",
    "check_moving_mean",
    "check_nearest_entry",
    "check_online_attention",
    "check_oracle_frames",
    "check_paired_interval",
    "check_passes",
    "check_pool_blocks",
    "check_pool_poses",
    "check_pose_distance",
    "check_pose_pairs",
    "check_psnr_inside",
    "check_rank_correlation",
    "check_region_loss",
    "check_rigid_fit",
    "check_score",
    "check_share_region",
    "check_sort_tokens",
    "check_speed_up",
    "check_start_delay",
    "check_step_flops",
    "check_student_turns",
    "check_surrogate",
    "check_to_csr",
    "check_token_mask",
    "check_token_of",
    "check_velocity",
    "check_warp_place",
    "yours",
]

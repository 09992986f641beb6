"""Which LeRobot exports a checkpoint: a rule over config.json alone, so that every host gives the same answer.

Facts: no version is recorded in a checkpoint, and one checkpoint is two policies: SmolVLA's vision tower numbers its
patches differently under transformers 4 (LeRobot 0.4) and 5 (LeRobot 0.6), which moves actions by more than bf16 does.
LeRobot writes every field of its config class, defaults too, so the keys tell who wrote it:

    lerobot-0.6 when the type is pi0 or pi05, or a key stands there that 0.6.1 knows and 0.4.4 does not
    lerobot-0.4 otherwise

`pretrained_revision` is such a key for every type. Keys that neither knows are a fork's, and are only named: both
versions refuse to load them, so the team's own environment has to do it.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["LEROBOT_04", "LEROBOT_06", "toolchain_of", "unknown_keys"]

LEROBOT_04, LEROBOT_06 = "lerobot-0.4", "lerobot-0.6"

_ONLY_06_TYPES = frozenset({"pi0", "pi05"})
_COMMON = """
    type device input_features output_features normalization_mapping n_obs_steps n_action_steps license pretrained_path
    private push_to_hub repo_id tags use_amp use_peft optimizer_lr optimizer_weight_decay
"""
_PI = """
    action_expert_variant chunk_size compile_mode compile_model dtype empty_cameras freeze_vision_encoder
    gradient_checkpointing image_resolution max_action_dim max_period max_state_dim min_period num_inference_steps
    optimizer_betas optimizer_eps optimizer_grad_clip_norm paligemma_variant rtc_config scheduler_decay_lr
    scheduler_decay_steps scheduler_warmup_steps time_sampling_beta_alpha time_sampling_beta_beta time_sampling_offset
    time_sampling_scale tokenizer_max_length train_expert_only
"""
# What save_pretrained of LeRobot 0.4.4 writes beside the common keys.
_KEYS_04 = {
    "act": """
        chunk_size dim_feedforward dim_model dropout feedforward_activation kl_weight latent_dim n_decoder_layers
        n_encoder_layers n_heads n_vae_encoder_layers optimizer_lr_backbone pre_norm pretrained_backbone_weights
        replace_final_stride_with_dilation temporal_ensemble_coeff use_vae vision_backbone
    """,
    "diffusion": """
        beta_end beta_schedule beta_start clip_sample clip_sample_range compile_mode compile_model crop_is_random
        crop_ratio crop_shape diffusion_step_embed_dim do_mask_loss_for_padding down_dims drop_n_last_frames horizon
        kernel_size n_groups noise_scheduler_type num_inference_steps num_train_timesteps optimizer_betas optimizer_eps
        prediction_type pretrained_backbone_weights resize_shape scheduler_name scheduler_warmup_steps
        spatial_softmax_num_keypoints use_film_scale_modulation use_group_norm use_separate_rgb_encoder_per_camera
        vision_backbone
    """,
    "smolvla": """
        adapt_to_pi_aloha add_image_special_tokens attention_mode chunk_size compile_mode compile_model empty_cameras
        expert_width_multiplier freeze_vision_encoder load_vlm_weights max_action_dim max_period max_state_dim
        min_period num_expert_layers num_steps num_vlm_layers optimizer_betas optimizer_eps optimizer_grad_clip_norm
        pad_language_to prefix_length resize_imgs_with_padding rtc_config scheduler_decay_lr scheduler_decay_steps
        scheduler_warmup_steps self_attn_every_n_layers tokenizer_max_length train_expert_only train_state_proj
        use_cache use_delta_joint_actions_aloha vlm_model_name
    """,
    "pi0": _PI,
    "pi05": _PI,
}
# What 0.6.1 writes on top.
_NEW_IN_06 = {
    "act": "pretrained_revision",
    "diffusion": "pretrained_revision gradient_checkpointing",
    "smolvla": "pretrained_revision",
    "pi0": "pretrained_revision action_feature_names relative_exclude_joints use_relative_actions",
    "pi05": "pretrained_revision action_feature_names relative_exclude_joints use_relative_actions",
}


def toolchain_of(policy_type: str, keys: Iterable[str]) -> str:
    """The toolchain of a checkpoint of this type whose config.json has these keys."""
    newer = policy_type in _ONLY_06_TYPES or set(keys) & set(_NEW_IN_06[policy_type].split())
    return LEROBOT_06 if newer else LEROBOT_04


def unknown_keys(policy_type: str, keys: Iterable[str]) -> list[str]:
    """Keys that neither version knows, sorted."""
    known = f"{_COMMON} {_KEYS_04[policy_type]} {_NEW_IN_06[policy_type]}".split()
    return sorted(set(keys) - set(known))

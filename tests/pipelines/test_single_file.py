"""Single files: what they say of themselves, and what is refused by what it is."""

import pytest
import torch
from safetensors.torch import save_file

import redilate
from redilate import RedilateError
from redilate.pipelines.families import native_size
from tests.compatibility.original import reads_single_files, sdxl_of_two_widths, write_with_configuration
from tests.models import tiny_sd15


@reads_single_files
def test_a_file_says_itself_that_it_predicts_v(tmp_path):
    """As v-prediction fine-tunes of SDXL do, by keys without weight: NoobAI-XL for one."""
    file, configuration = write_with_configuration(
        sdxl_of_two_widths(), tmp_path, v_pred=torch.tensor([]), ztsnr=torch.tensor([])
    )
    scheduler = redilate.load(file, config=configuration, device="cpu").scheduler
    assert scheduler.config.prediction_type == "v_prediction" and scheduler.config.rescale_betas_zero_snr


@reads_single_files
def test_a_files_name_tells_the_native_size_that_its_weights_do_not(tmp_path):
    file, configuration = write_with_configuration(tiny_sd15(), tmp_path, "Illustrious-XL-v1.0.safetensors")
    assert native_size(redilate.load(file, config=configuration, device="cpu")) == (1536, 1536)
    # A folder above it that is called so tells nothing.
    folder = tmp_path / "Illustrious-XL-v1.0"
    folder.mkdir()
    moved = file.rename(folder / "other.safetensors")
    assert native_size(redilate.load(moved, config=configuration, device="cpu")) == (256, 256)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("lora_unet_down_blocks_0_resnets_0_conv1.lora_up.weight", r"LoRA.*load_lora_weights"),
        ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "no Stable Diffusion U-Net"),
        ("first_stage_model.encoder.conv_in.weight", "no Stable Diffusion U-Net"),
        ("conditioner.embedders.0.model.ln_final.weight", r"refiner.*Img2ImgPipeline\.from_single_file"),
    ],
)
def test_a_file_that_is_no_whole_checkpoint_is_refused_by_what_it_is(tmp_path, key, says):
    save_file({key: torch.zeros(1)}, tmp_path / "file.safetensors")
    with pytest.raises(RedilateError, match=says):
        redilate.load(tmp_path / "file.safetensors", device="cpu")


def test_a_configuration_goes_with_a_single_file_only(tmp_path, tiny_pipeline_folder):
    with pytest.raises(RedilateError, match=r"config=.*single file"):
        redilate.load(tiny_pipeline_folder, config=tiny_pipeline_folder, device="cpu")
    file, _ = write_with_configuration(tiny_sd15(), tmp_path)
    with pytest.raises(RedilateError, match=r"nowhere.*model_index\.json"):
        redilate.load(file, config=tmp_path / "nowhere", device="cpu")

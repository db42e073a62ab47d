// 随包的 U-Net 的前向，逐层对应 ddpm_edu/unet.py；权重的名字就是那里的名字，有哪些层由名字看出来
"use strict";

class UNet {
  // file 是 base64 的 safetensors，config 是卡片里的 unet_config.params
  constructor(file, config) {
    this.patch = config.patch_size || 1;
    this.width = config.model_channels;
    const weights = readWeights(file, "model.diffusion_model.");
    this.labels = weights["label_emb.weight"];
    this.layers = {};
    for (const name of Object.keys(weights)) {
      const layer = name.slice(0, name.lastIndexOf("."));
      if (!name.endsWith(".weight") || layer === "label_emb" || this.layers[layer]) continue;
      const weight = weights[name], bias = weights[`${layer}.bias`].data;
      this.layers[layer] = weight.shape.length === 1 ? {scale: weight.data, shift: bias} : {weight: asRows(weight), bias};
    }
  }

  dense(name, vector) {
    const {weight, bias} = this.layers[name];
    return addVector(product(vector, weight.data, weight.length), bias);
  }

  // 步号与类别 → 嵌入，已经过了 SiLU（每个残差块都先要过一次）；label 为 -1 是“无条件”
  embed(t, label) {
    const half = this.width / 2, waves = new Float32Array(this.width);
    for (let i = 0; i < half; i++) {
      // 先各自舍入成单精度，与 torch 相同：步号近千时，角度差一点，正弦就差一点
      const angle = Math.fround(t * Math.fround(Math.exp(Math.fround(-Math.log(10000) * i / half))));
      waves[i] = Math.cos(angle);
      waves[half + i] = Math.sin(angle);
    }
    const emb = this.dense("time_embed.2", this.dense("time_embed.0", waves).map(silu));
    const row = label * emb.length;
    return emb.map((value, i) => silu(value + (label < 0 ? 0 : this.labels.data[row + i])));
  }

  residual(x, name, emb) {
    const {layers} = this;
    let h = convolve(normalize(x, layers[`${name}.in_layers.0`], true), layers[`${name}.in_layers.2`]);
    addVector(h.data, this.dense(`${name}.emb_layers.1`, emb));
    h = convolve(normalize(h, layers[`${name}.out_layers.0`], true), layers[`${name}.out_layers.3`]);
    const skip = layers[`${name}.skip_connection`];
    return addInto(h, skip ? convolve(x, skip) : x);
  }

  attention(x, name) {
    const {layers} = this;
    const h = attend(convolve(normalize(x, layers[`${name}.norm`], false), layers[`${name}.qkv`]));
    return addInto(convolve(h, layers[`${name}.proj_out`]), x);
  }

  // 一小段网络：残差块、注意力，最后可能有一个缩小或放大的卷积；第一段只有一个不改边长的卷积
  stage(x, name, emb) {
    for (let k = 0, layer; ; k++) {
      layer = `${name}.${k}`;
      if (this.layers[`${layer}.in_layers.0`]) x = this.residual(x, layer, emb);
      else if (this.layers[`${layer}.qkv`]) x = this.attention(x, layer);
      else if (!this.layers[layer]) return x;
      else if (name.startsWith("output")) x = convolve(enlarge(x), this.layers[layer]);
      else x = convolve(x, this.layers[layer], name === "input_blocks.0" ? 1 : 2);
    }
  }

  // 网络的输出：pixels 是 side×side 个数，一行接一行；t 是步号，label 是类别
  predict(pixels, t, label) {
    const emb = this.embed(t, label), skips = [];
    const exists = name => this.layers[name] || this.layers[`${name}.in_layers.0`];
    let h = fold(pixels, Math.sqrt(pixels.length), this.patch);
    for (let i = 0; exists(`input_blocks.${i}.0`); i++) {
      h = this.stage(h, `input_blocks.${i}`, emb);
      skips.push(h);
    }
    h = this.stage(h, "middle_block", emb);
    for (let i = 0; exists(`output_blocks.${i}.0`); i++) h = this.stage(concatenate(h, skips.pop()), `output_blocks.${i}`, emb);
    return unfold(convolve(normalize(h, this.layers["out.0"], true), this.layers["out.2"]), this.patch);
  }
}

--- eval - loss and perplexity of a model folder on a text file.

local output = require "sonde.base.output"

return {
  summary = "loss and perplexity of a model folder on a text file",
  usage = "--model DIR --text FILE [options]",
  details = "The text is one stream of tokens, cut into windows of the context; nothing is added that the tokenizer\n"
    .. "does not add, but for the end-of-text token behind each document of a .jsonl, or of a text whose documents\n"
    .. "are parted by lines that hold only <|endoftext|>. The loss is the mean over the predicted tokens, in nats.",
  options = require("sonde.data.windows").with_reading {
    { name = "model", type = "string", required = true, value = "DIR",
      doc = "a model folder, of Sonde or of Hugging Face's Llama" },
    require("sonde.io").placement,
    { name = "text", type = "string", required = true, value = "FILE",
      doc = "the text; .jsonl, .gz and .zst too; - is standard input" },
    { name = "context", type = "integer", min = 1, max = 1048576,
      doc = "tokens of a window; default: the model's context, at most 4096" },
    { name = "batch", type = "integer", min = 1, max = 1048576,
      doc = "windows computed at once; default: some thousand tokens" },
    { name = "dtype", type = "string", choices = { "f32", "bf16" }, preset = "f32", doc = "of matrix products" },
    { name = "document_mask", type = "boolean", preset = false,
      doc = "attention keeps the documents of a window apart (end-of-text parts them)" },
    { name = "document_positions", type = "boolean", preset = false,
      doc = "with --document-mask: positions count in each document anew" },
    output.json,
  },
  example = "sonde eval --model runs/depth/0/model --text book.txt --json",
  run = function(options)
    local sonde = require "sonde"
    local model = require("sonde.io").of_command(options):check_finite()
    local windows = require "sonde.data.windows"
    local tokens, bytes = windows.read(model, options.text, options)
    windows.note(model, options.context or 0, "windows")
    local result = sonde.evaluate(model, tokens, {
      context = options.context, batch = options.batch, dtype = options.dtype, bytes = bytes,
      document_mask = options.document_mask, document_positions = options.document_positions,
    })
    if result.loss - result.loss ~= 0 then
      error(options.model .. ": the loss is not finite: the weights are too large", 0)
    end
    if options.json then
      output.print_json(result)
    else
      print(string.format("loss %.6f  perplexity %.4f  bits per byte %.4f  (%d tokens predicted in windows of %d, %d "
        .. "bytes)",
        result.loss, result.perplexity, result.bits_per_byte, result.tokens, result.context, result.bytes))
    end
  end,
}

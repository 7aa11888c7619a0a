---@meta
--- types.lua - the handles that the C core makes, for documentation and editors; nothing here is run.
--
-- Handles are given back by the collector, by close(), or at the end of a `local x <close>`; a closed one says so
-- when it is used. A node keeps its graph, a plan keeps its graph and its tensors.

---@class sonde.graph      a computation while it is traced
local graph = {}

--- An input, given a value before each run.
---@param name string
---@param dtype "f32"|"bf16"|"i32"
---@param dims integer[]     slowest dimension first
---@return sonde.node
function graph:input(name, dtype, dims) end

--- A tensor as a value of the graph; runs read what it holds then.
---@param name string
---@param tensor sonde.tensor
---@return sonde.node
function graph:leaf(name, tensor) end

--- A shape filled with one number; {} is a scalar.
---@param value number
---@param dims integer[]
---@return sonde.node
function graph:constant(value, dims) end

--- What the nodes from now on belong to: a path for messages and dumps, and the block (from 0, or -1) for
--- recomputation.
---@param path string|nil
---@param block? integer
function graph:scope(path, block) end

--- In front of the names of parameters and scopes from now on, for a second model in the graph; nil: no longer.
---@param text string|nil
function graph:prefix(text) end

--- The value of that name, or nil.
---@param name string
---@return sonde.node|nil
function graph:find(name) end

--- The names of values, in the order they were given.
---@return string[]
function graph:names() end

--- No node can be made or looked at any more; plans run on.
function graph:close() end

---@class sonde.tensor     a buffer with a shape
local tensor = {}

--- Fills it: a table, nested or flat, in row-major order; or one number for all. Returns the tensor.
---@param values table|number
---@return sonde.tensor
function tensor:fill(values) end

--- The i-th element in row-major order, from 1.
---@param i integer
---@return number
function tensor:get(i) end

--- Changes the i-th element.
---@param i integer
---@param value number
function tensor:set(i, value) end

--- All elements as a flat list.
---@return number[]
function tensor:values() end

--- The shape, as a list.
---@return integer[]
function tensor:dims() end

--- "f32", "bf16" or "i32".
---@return string
function tensor:dtype() end

--- How many elements.
---@return integer
function tensor:count() end

--- SHA-256 over dtype, shape and elements, hex.
---@return string
function tensor:sha256() end

--- Gives the memory back, once no plan and no graph uses it.
function tensor:close() end

---@class sonde.plan       a computation with its memory, ready to run
local plan = {}

--- Computes the outputs from the inputs. Inputs that are not given keep the value of the last run.
---@param inputs? table<string, sonde.tensor|table>
---@return sonde.plan
function plan:run(inputs) end

--- Seconds by op ("fused": elementwise ops in one pass), and by module ("blocks.0.attn_norm": the scope in which a
--- step's node was traced), of the runs since the first call of this, which begins it.
---@return table<string, number> ops, table<string, number> modules
function plan:profile() end

--- Computes now what a plan made with `hold` computes once, instead of in its first run.
function plan:hold() end

--- An input's value for the runs to come. A tensor is read at each run; a table is copied now.
---@param name string
---@param value sonde.tensor|table
function plan:set(name, value) end

--- A copy of output i (from 1) of the last run.
---@param i integer
---@return sonde.tensor
function plan:output(i) end

--- How many outputs there are.
---@return integer
function plan:outputs() end

--- What random ops (dropout) count by: the same step gives the same mask.
---@param step integer
function plan:set_step(step) end

--- Nodes and steps, bytes of the arena and of tensors, FLOPs and memory traffic of one run; also
--- recomputed_blocks, and model_flops: without what those blocks add.
---@return {nodes: integer, steps: integer, arena_bytes: integer, leaf_bytes: integer, flops: number, bytes: number}
function plan:info() end

--- Writes the schedule as text, or the graph for Graphviz; without a path gives it.
---@param path string|nil
---@param form? "text"|"dot"
---@return string|nil
function plan:dump(path, form) end

--- Gives the plan's memory back.
function plan:close() end

---@class sonde.params     the named parameters of a model
local params = {}

--- A parameter of a training beside the model's, which is not saved with it.
---@param name string
---@param dims integer[]
---@param role string
---@param init {kind: string, a: number, b: number}
function params:extend(name, dims, role, init) end

--- The parameter of that name as a tensor, or nil.
---@param name string
---@return sonde.tensor|nil
function params:find(name) end

--- Every parameter that has values of its own: what is trained and kept in checkpoints. Block counts from 0 (-1: none);
--- `views` are the kinds of its views in the order they apply, `of` is the parameter whose view it serves (masks,
--- low-rank factors).
--- With low-rank factors it has their `rank` and `scale` too.
---@return {name: string, dims: integer[], role: string, block: integer, views: string[], of: string|nil}[]
function params:list() end

--- The same of every weight that modules read: those that share another's value (`shares`) too, none that serves a
--- view.
---@return {name: string, dims: integer[], role: string, block: integer, views: string[], shares: string|nil}[]
function params:weights() end

--- What modules read of a parameter, through its views: its own tensor where they change nothing, else a computed one.
---@param name string
---@return sonde.tensor
function params:read(name) end

--- The same as a node of a graph.
---@param graph sonde.graph
---@param name string
---@return sonde.node
function params:node(graph, name) end

--- View: modules read the value times a mask of the same shape. Gives the mask, of ones, to be written: 0 takes a
--- weight out, and its gradient. Traces made from then on have it, as with all views.
---@param name string
---@return sonde.tensor
function params:mask(name) end

--- View: modules read W + scale B A (LoRA; Hu et al., 2022), with the new parameters NAME.lora_b [out, rank], zero at
--- first, and NAME.lora_a [rank, in].
---@param name string     a matrix [out, in]
---@param rank integer
---@param scale number
function params:low_rank(name, rank, scale) end

--- View: a parameter gives up its own value for another's, of the same shape. The gradient of that is the sum.
---@param name string
---@param source string
function params:share(name, source) end

--- View: the parameter keeps its values in training; `on` false takes that off again.
---@param name string
---@param on? boolean
function params:freeze(name, on) end

--- How many numbers they hold.
---@return integer
function params:elements() end

--- Hash over names, shapes and values.
---@return string
function params:sha256() end

--- The same over those (buffers: masks alone) whose values are not their initialisation's, which follow from the seed:
--- that were written, read from files or trained. nil: there are none.
---@return string|nil
function params:given_sha256() end

--- The name of the first that holds NaN or an infinite value, or nil.
---@return string|nil
function params:not_finite() end

---@class sonde.site       the place in a model that a module is built for
---@field layer integer      l = 1..L; 0 outside the blocks
---@field depth integer      L
---@field slot string        of a norm: "attn", "ffn", "attn_out", "ffn_out", "final"; else the kind's name
---@field width integer      D
---@field batch integer      B
---@field context integer    T
---@field trained_context integer    T of the model's training, whatever this trace's is
local site = {}

--- A parameter of this site, made at the first trace. Roles: embed head qk v attn_out ffn_in ffn_out gain bias
--- other buffer router.
---@param name string
---@param dims integer[]
---@param role string
---@param value? number   first value of a gain (default 1), bias or buffer (default 0)
---@return sonde.node
function site:param(name, dims, role, value) end

--- An input of the graph, which the training's data fill; made if it is not there.
---@param name string
---@param dtype "f32"|"i32"
---@param dims integer[]
---@return sonde.node
function site:input(name, dtype, dims) end

--- Names a value for the other modules of the block. Returns it. "loss.NAME" is added to the loss (one number, or one
--- for each item), "metric.NAME" is reported beside it; all of one name add up: doc/training.md.
---@param name string
---@param value sonde.node
---@return sonde.node
function site:publish(name, value) end

--- What another module of the block has published, or nil.
---@param name string
---@return sonde.node|nil
function site:lookup(name) end

--- How a parameter of role buffer (saved, not trained) is computed from others: at first, and after every so many
--- updates.
---@param buffer sonde.node
---@param value sonde.node
---@param every? integer   updates; 0: by the length of the training
---@return sonde.node
function site:refresh(buffer, value, every) end

---@class sonde.tokenizer  text to ids and back
local tokenizer = {}

--- The ids of a text. `plain`: special tokens spelled in the text are text; `bare`: without what the tokenizer
--- puts before and after.
---@param text string
---@param options? {plain: boolean, bare: boolean}
---@return sonde.tensor   i32 [n]
function tokenizer:encode(text, options) end

--- The ids of a text file, packed (gzip, zstd) or not, and how many bytes of text they are; "-" is standard input. Of a
--- .jsonl, and of a text with lines that hold only <|endoftext|>, by documents, each ended by the end-of-text token.
--- What spells a special token is text, unless `special` says otherwise; `skip` passes over damaged lines of a .jsonl.
---@param path string
---@param options? {field: string, skip: boolean, special: boolean}
---@return sonde.tensor ids, integer bytes   i32 [n]
function tokenizer:read(path, options) end

--- Settings of its file that change no ids of a whole text and are not used ("truncation, padding"); "" where there are
--- none.
---@return string
function tokenizer:unused() end

--- Whether another tokenizer gives every text the same ids: the same file, or one that says the same.
---@param other sonde.tokenizer
---@return boolean
function tokenizer:same(other) end

--- The text of ids; one that no token has (models may have more rows) stands for nothing. Bytes that are no UTF-8 stay
--- as they are.
---@param ids integer[]|sonde.tensor
---@param skip_special? boolean   special tokens are left out
---@param inside? boolean         the ids continue a text: the space that some tokenizers put before a text is kept
---@return string
function tokenizer:decode(ids, skip_special, inside) end

--- Writes it as Hugging Face's tokenizer.json.
---@param path string
function tokenizer:save(path) end

--- The id of an added token, or nil.
---@param text string
---@return integer|nil
function tokenizer:special(text) end

--- The id of the end-of-text token, or nil.
---@return integer|nil
function tokenizer:eot() end

--- Tells it which of its added tokens ends a text: its file cannot say, the files of a folder beside it can.
---@param text string
function tokenizer:end_with(text) end

--- Largest id + 1.
---@return integer
function tokenizer:vocab() end

--- SHA-256 of the file it was read from, hex.
---@return string
function tokenizer:hash() end

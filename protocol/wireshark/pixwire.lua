-- Wireshark dissector for PXW/1, the pixwire protocol (SPEC.md 3 to 8).
--
--     tshark -X lua_script:protocol/wireshark/pixwire.lua -r capture.pcap -Y 'pxw.job == "j-01"'
--
-- In Wireshark put this file into the folder of personal Lua plugins (Help > About > Folders). Connections are found
-- by their preface on any TCP port, and on port 7499 also when the capture began later ("Decode As" helps elsewhere).
-- Inside TLS they are found by the ALPN name pxw/1 when Wireshark has the keys.

-- generated: names and numbers (protocol/dissector_tables.py --write)
local MARKER, HEADER_SIZE = 0xc1, 12
local PREFACE_MAGIC, PREFACE_BYTE = 0x89505857, 0x89
local PREFACE_SIZE = 8
local PORT, ALPN = 7499, "pxw/1"
local MAX_DEPTH = 8
local TYPE_NAMES = {
    [0x01] = "HELLO",
    [0x02] = "AUTH",
    [0x04] = "PING",
    [0x05] = "ERROR",
    [0x06] = "GOAWAY",
    [0x07] = "RESET",
    [0x10] = "SUBMIT",
    [0x11] = "STATUS",
    [0x12] = "CANCEL",
    [0x13] = "WATCH",
    [0x15] = "LIST",
    [0x16] = "ADMIN",
    [0x20] = "FETCH",
    [0x21] = "DATA",
    [0x22] = "CREDIT",
    [0x30] = "RESULT",
    [0x31] = "EVENT",
    [0x32] = "PREVIEW",
}
local ACK_NAMES = {
    [0x01] = "WELCOME",
    [0x02] = "AUTH_OK",
    [0x04] = "PONG",
}
local ERROR_NAMES = {
    [0x00] = "NO_ERROR",
    [0x100] = "PROTOCOL_ERROR",
    [0x101] = "FRAME_TOO_LARGE",
    [0x102] = "BAD_HEAD",
    [0x103] = "UNKNOWN_CRITICAL",
    [0x104] = "FLOW_CONTROL",
    [0x105] = "STREAM_ID",
    [0x106] = "VERSION_UNSUPPORTED",
    [0x107] = "HANDSHAKE_TIMEOUT",
    [0x108] = "IDLE_TIMEOUT",
    [0x109] = "EXCESSIVE_LOAD",
    [0x10a] = "SLOW_CONSUMER",
    [0x10b] = "INTERNAL",
    [0x200] = "AUTH_REQUIRED",
    [0x201] = "AUTH_FAILED",
    [0x202] = "AUTH_EXPIRED",
    [0x203] = "FORBIDDEN",
    [0x300] = "INVALID_ARGUMENT",
    [0x301] = "UNKNOWN_FRAME",
    [0x302] = "JOB_NOT_FOUND",
    [0x303] = "JOB_CONFLICT",
    [0x304] = "JOB_EXPIRED",
    [0x305] = "ARTIFACT_NOT_FOUND",
    [0x306] = "ARTIFACT_CHANGED",
    [0x307] = "OFFSET_OUT_OF_RANGE",
    [0x308] = "UNSUPPORTED",
    [0x309] = "UPLOAD_STALLED",
    [0x400] = "QUEUE_FULL",
    [0x401] = "RATE_LIMITED",
    [0x402] = "QUOTA_EXCEEDED",
    [0x403] = "DRAINING",
    [0x404] = "TOO_MANY_STREAMS",
    [0x405] = "PAUSED",
    [0x500] = "CANCELLED",
    [0x501] = "DEADLINE_EXCEEDED",
    [0x502] = "WORKER_LOST",
    [0x503] = "OUT_OF_MEMORY",
    [0x504] = "CONTENT_REJECTED",
    [0x505] = "PIPELINE_ERROR",
}
local INFO_KEYS = { action = true, job = true, kind = true, state = true, event = true, what = true, step = true, code = true, name = true, n = true, artifact = true, offset = true, mechanism = true, priority = true, tag = true }
local SECRET_KEYS = { token = true }
-- /generated

local ACK_OR_END = 0x01

local pxw = Proto("pxw", "PXW (pixwire)")
local f = pxw.fields
f.magic = ProtoField.bytes("pxw.preface.magic", "Magic")
f.min = ProtoField.uint8("pxw.preface.min", "Lowest version")
f.max = ProtoField.uint8("pxw.preface.max", "Highest version")
f.marker = ProtoField.uint8("pxw.marker", "Marker", base.HEX)
f.length = ProtoField.uint24("pxw.length", "Length (head and tail)")
f.type = ProtoField.uint8("pxw.type", "Type", base.HEX)
f.name = ProtoField.string("pxw.name", "Name")
f.flags = ProtoField.uint8("pxw.flags", "Flags", base.HEX)
f.ack = ProtoField.bool("pxw.flags.ack", "ACK", 8, nil, ACK_OR_END)
f.fin = ProtoField.bool("pxw.flags.end", "END", 8, nil, ACK_OR_END)
f.head_len = ProtoField.uint16("pxw.head_len", "Head length")
f.stream = ProtoField.uint32("pxw.stream", "Stream")
f.head = ProtoField.bytes("pxw.head", "Head")
f.tail = ProtoField.bytes("pxw.tail", "Tail")
f.tail_len = ProtoField.uint32("pxw.tail_len", "Tail length")
f.field = ProtoField.string("pxw.field", "Field")
f.job = ProtoField.string("pxw.job", "Job")
f.state = ProtoField.string("pxw.state", "State")
f.code = ProtoField.uint16("pxw.code", "Error code", base.HEX, ERROR_NAMES)
f.credit = ProtoField.uint32("pxw.credit", "Credit")
f.seq = ProtoField.uint64("pxw.seq", "Event number")

local e = pxw.experts
pxw.experts.marker = ProtoExpert.new("pxw.bad_marker", "A frame begins with another byte than 0xC1", expert.group.MALFORMED, expert.severity.ERROR)
pxw.experts.lengths = ProtoExpert.new("pxw.bad_lengths", "head_len is above length", expert.group.MALFORMED, expert.severity.ERROR)
pxw.experts.head = ProtoExpert.new("pxw.bad_head", "The head is not one msgpack map", expert.group.MALFORMED, expert.severity.ERROR)
pxw.experts.unknown = ProtoExpert.new("pxw.unknown_type", "A type that this dissector does not know", expert.group.UNDECODED, expert.severity.NOTE)
e = pxw.experts

pxw.prefs.show_secrets = Pref.bool("Show secrets", false, "Show the tokens in AUTH frames")

-- ---------------------------------------------------------------------------------------------------- msgpack
-- decode(bytes, at) -> text of the value, position behind it, plain value. `bytes` is a ByteArray; errors are thrown.

local decode

local function number(bytes, at, count)
    local value = 0
    for i = at, at + count - 1 do
        value = value * 256 + bytes:get_index(i)
    end
    return value, at + count
end

local function signed(bytes, at, count)
    local value, behind = number(bytes, at, count)
    if value >= 2 ^ (8 * count - 1) then
        value = value - 2 ^ (8 * count)
    end
    return value, behind
end

local function quoted(text)
    return '"' .. text:gsub('[%c"\\]', function(c) return string.format("\\x%02x", c:byte()) end) .. '"'
end

local function str(bytes, at, count)
    local text = count == 0 and "" or bytes:subset(at, count):raw()
    return quoted(text), at + count, text
end

local function bin(bytes, at, count)
    return count == 0 and "h''" or "h'" .. bytes:subset(at, count):tohex(true) .. "'", at + count
end

local function array(bytes, at, count, depth)
    local parts = {}
    for i = 1, count do
        parts[i], at = decode(bytes, at, depth)
    end
    return "[" .. table.concat(parts, ", ") .. "]", at
end

local function map(bytes, at, count, depth)
    local parts = {}
    for i = 1, count do
        local key, value
        key, at = decode(bytes, at, depth)
        value, at = decode(bytes, at, depth)
        parts[i] = key .. ": " .. value
    end
    return "{" .. table.concat(parts, ", ") .. "}", at
end

local function float(bytes, at, count)
    local range = bytes:tvb("float")(at, count)
    return tostring(range:float()), at + count, range:float()
end

local function integer(value, behind)
    return string.format("%.0f", value), behind, value
end

-- An integer of 8 bytes: the text is exact, the value as near as a float comes to it.
local function wide(bytes, at, make, read)
    local value, behind = read(bytes, at, 8)
    return tostring(make((number(bytes, at + 4, 4)), (number(bytes, at, 4)))), behind, value
end

-- first byte -> what follows: sizes of the length field, and the reader
local SIZED = {
    [0xc4] = { 1, bin }, [0xc5] = { 2, bin }, [0xc6] = { 4, bin },
    [0xd9] = { 1, str }, [0xda] = { 2, str }, [0xdb] = { 4, str },
    [0xdc] = { 2, array }, [0xdd] = { 4, array }, [0xde] = { 2, map }, [0xdf] = { 4, map },
}
local UNSIGNED = { [0xcc] = 1, [0xcd] = 2, [0xce] = 4 }
local SIGNED = { [0xd0] = 1, [0xd1] = 2, [0xd2] = 4 }
local FLOATS = { [0xca] = 4, [0xcb] = 8 }
local CONSTANTS = { [0xc0] = "nil", [0xc2] = "false", [0xc3] = "true" }

decode = function(bytes, at, depth)
    depth = (depth or 0) + 1
    if depth > MAX_DEPTH then error("too deep") end
    local first = bytes:get_index(at)
    at = at + 1
    if first < 0x80 then return integer(first, at) end
    if first >= 0xe0 then return integer(first - 256, at) end
    if first < 0x90 then return map(bytes, at, first - 0x80, depth) end
    if first < 0xa0 then return array(bytes, at, first - 0x90, depth) end
    if first < 0xc0 then return str(bytes, at, first - 0xa0) end
    if CONSTANTS[first] then return CONSTANTS[first], at end
    if UNSIGNED[first] then return integer(number(bytes, at, UNSIGNED[first])) end
    if SIGNED[first] then return integer(signed(bytes, at, SIGNED[first])) end
    if first == 0xcf then return wide(bytes, at, UInt64.new, number) end
    if first == 0xd3 then return wide(bytes, at, Int64.new, signed) end
    if FLOATS[first] then return float(bytes, at, FLOATS[first]) end
    local sized = SIZED[first]
    if not sized then error("not in the profile") end
    local count
    count, at = number(bytes, at, sized[1])
    return sized[2](bytes, at, count, depth)
end

-- The entries of a head: {key, text, value, offset, length}. Errors are thrown.
local function entries(bytes)
    local first, at, count = bytes:get_index(0), 1, nil
    if first >= 0x80 and first < 0x90 then
        count = first - 0x80
    elseif first == 0xde or first == 0xdf then
        count, at = number(bytes, 1, first == 0xde and 2 or 4)
    else
        error("not a map")
    end
    local found = {}
    for i = 1, count do
        local from, _, key, text, value = at, nil, nil, nil, nil
        _, at, key = decode(bytes, at)
        if type(key) ~= "string" then error("a key that is not a string") end
        text, at, value = decode(bytes, at)
        found[i] = { key = key, text = text, value = value, offset = from, length = at - from }
    end
    if at ~= bytes:len() then error("bytes behind the map") end
    return found
end

-- ------------------------------------------------------------------------------------------------------ frames

-- key of a head -> field of its own beside pxw.field, to filter by
local FILTERS = { job = f.job, state = f.state, code = f.code, n = f.credit, seq = f.seq }
-- what a number must be below to have that field: what does not fit is shown as it is, and not as another number
local BELOW = { code = 2 ^ 16, n = 2 ^ 32, seq = 2 ^ 53 }

local function add_filter(tree, range, entry)
    local field = FILTERS[entry.key]
    if not field or entry.value == nil then return end
    local below, value = BELOW[entry.key], entry.value
    if below and not (type(value) == "number" and value >= 0 and value < below and value % 1 == 0) then return end
    if field == f.seq then
        tree:add(field, range, UInt64.new(entry.value % 2 ^ 32, math.floor(entry.value / 2 ^ 32))):set_generated()
    elseif (field == f.job or field == f.state) == (type(entry.value) == "string") then
        tree:add(field, range, entry.value):set_generated()
    end
end

-- Adds the head to the tree; returns what is worth a word in the Info column.
local function show_head(tree, range)
    local branch = tree:add(f.head, range)
    local ok, found = pcall(entries, range:bytes())
    if not ok then
        branch:add_proto_expert_info(e.head, "The head is not one msgpack map: " .. tostring(found):gsub("^.-:%d+: ", ""))
        return ""
    end
    local words = ""
    for _, entry in ipairs(found) do
        local part = range(entry.offset, entry.length)
        local text = entry.text
        if SECRET_KEYS[entry.key] and not pxw.prefs.show_secrets then
            text = "(hidden)"
            branch:set_text("Head (holds a secret)")
        end
        branch:add(f.field, part, entry.key .. ": " .. text)
        add_filter(branch, part, entry)
        if INFO_KEYS[entry.key] and not SECRET_KEYS[entry.key] then
            words = words .. " " .. entry.key .. "=" .. text
        end
    end
    return words
end

local function name_of(kind, flags)
    local acknowledged = bit32.band(flags, ACK_OR_END) ~= 0 and ACK_NAMES[kind]
    return acknowledged or TYPE_NAMES[kind] or string.format("type 0x%02x", kind)
end

local function show_frame(range, pinfo, tree)
    local head_len, length = range(6, 2):uint(), range(1, 3):uint()
    local kind, flags, stream = range(4, 1):uint(), range(5, 1):uint(), range(8, 4):uint()
    local name = name_of(kind, flags)
    local branch = tree:add(pxw, range, string.format("PXW %s, stream %d", name, stream))
    branch:add(f.marker, range(0, 1))
    branch:add(f.length, range(1, 3))
    branch:add(f.type, range(4, 1)):append_text(" (" .. (TYPE_NAMES[kind] or "unknown") .. ")")
    branch:add(f.name, range(4, 2), name):set_generated()
    branch:add(f.flags, range(5, 1)):add(ACK_NAMES[kind] and f.ack or f.fin, range(5, 1))
    branch:add(f.head_len, range(6, 2))
    branch:add(f.stream, range(8, 4))
    if not TYPE_NAMES[kind] then branch:add_proto_expert_info(e.unknown) end
    if head_len > length then
        branch:add_proto_expert_info(e.lengths)
        return name
    end
    local words = head_len > 0 and show_head(branch, range(12, head_len)) or ""
    local tail = length - head_len
    branch:add(f.tail_len, range(1, 3), tail):set_generated()
    if tail > 0 then
        branch:add(f.tail, range(12 + head_len, tail))
        words = words .. string.format(" +%d bytes", tail)
    end
    local last = bit32.band(flags, ACK_OR_END) ~= 0 and not ACK_NAMES[kind] and " END" or ""
    return (stream > 0 and string.format("%s [%d]", name, stream) or name) .. last .. words
end

local function show_preface(range, tree)
    local branch = tree:add(pxw, range, "PXW preface")
    branch:add(f.magic, range(0, 4))
    branch:add(f.min, range(4, 1))
    branch:add(f.max, range(5, 1))
    return string.format("preface %d-%d", range(4, 1):uint(), range(5, 1):uint())
end

-- How many bytes the unit at `offset` has; nil while its header is not there; false when this is not PXW.
local function unit_length(tvb, offset)
    local remaining = tvb:len() - offset
    local first = tvb(offset, 1):uint()
    if first == PREFACE_BYTE then return PREFACE_SIZE end
    if first ~= MARKER then return false end
    if remaining < HEADER_SIZE then return nil end
    return HEADER_SIZE + math.max(tvb(offset + 1, 3):uint(), 0)
end

function pxw.dissector(tvb, pinfo, tree)
    pinfo.cols.protocol = "PXW"
    local offset, units = 0, {}
    while offset < tvb:len() do
        local length = unit_length(tvb, offset)
        if length == false then
            tree:add(pxw, tvb(offset)):add_proto_expert_info(e.marker)
            units[#units + 1] = "not PXW"
            offset = tvb:len()
        elseif length == nil or tvb:len() - offset < length then
            pinfo.desegment_offset = offset
            pinfo.desegment_len = length and length - (tvb:len() - offset) or DESEGMENT_ONE_MORE_SEGMENT
            break
        else
            local range = tvb(offset, length)
            local preface = range(0, 1):uint() == PREFACE_BYTE
            units[#units + 1] = preface and show_preface(range, tree) or show_frame(range, pinfo, tree)
            offset = offset + length
        end
    end
    if #units > 0 then pinfo.cols.info = table.concat(units, " | ") end
    return tvb:len()
end

-- A connection on another port is recognised by its preface; what follows on it belongs to this dissector then.
local function looks_like_pxw(tvb, pinfo, tree)
    if tvb:len() < 4 or tvb(0, 4):uint() ~= PREFACE_MAGIC then return false end
    pinfo.conversation = pxw
    pxw.dissector(tvb, pinfo, tree)
    return true
end

DissectorTable.get("tcp.port"):add(PORT, pxw)
pxw:register_heuristic("tcp", looks_like_pxw)
local has_alpn, alpn = pcall(DissectorTable.get, "tls.alpn")
if has_alpn and alpn then alpn:add(ALPN, pxw) end

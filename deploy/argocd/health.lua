-- Health of AgentPool, AgentClaim and AgentInstance for Argo CD, which would take whatever exists for healthy.
-- It says what kstatus says of the same object, so Argo CD, Flux and `kubectl wait` agree; on top of that a
-- paused pool is Suspended. Lua 5.1 with its base functions alone: that is all Argo CD gives a script.
-- No message holds instructions, an invite or the value of a variable.

local status = obj.status or {}

local function condition(kind)
  for _, each in ipairs(status.conditions or {}) do
    if each.type == kind then
      return each
    end
  end
  return nil
end

local function holds(kind)
  local found = condition(kind)
  return found ~= nil and found.status == "True"
end

-- Why, in the words of that condition: "TooFewIdle: 1 of 3 idle".
local function why(kind)
  local found = condition(kind)
  if found == nil then
    return nil
  end
  if found.message ~= nil and found.message ~= "" then
    return found.reason .. ": " .. found.message
  end
  return found.reason
end

local function verdict(health, ...)
  local said = ""
  for i = 1, select("#", ...) do
    local part = select(i, ...)
    if part ~= nil then
      said = said == "" and part or said .. "; " .. part
    end
  end
  return { status = health, message = said }
end

if obj.metadata.deletionTimestamp ~= nil then
  return verdict("Progressing", "it is being deleted")
end

if obj.kind == "AgentPool" then
  if obj.spec.paused then
    return verdict("Suspended", "spec.paused: nothing is created or deleted", why("Ready"))
  end
  if status.observedGeneration ~= obj.metadata.generation then
    return verdict("Progressing", "the controller has not seen this version yet")
  end
end

if obj.kind == "AgentInstance" then
  if status.phase == "Failed" or status.phase == "Gone" then
    return verdict("Degraded", why("Ready") or status.phase)
  end
  if status.barred ~= nil then
    return verdict("Degraded", "it is never offered: " .. status.barred)
  end
end

if holds("Stalled") then
  return verdict("Degraded", why("Stalled"))
end
if holds("Ready") and not holds("Reconciling") then
  return verdict("Healthy", why("Ready"))
end
local full = holds("AtCapacity") and why("AtCapacity") or nil
local unreachable = condition("ProviderReachable")
local cut_off = unreachable ~= nil and unreachable.status == "False" and why("ProviderReachable") or nil
return verdict("Progressing", why("Ready") or status.phase or "the controller has not seen it yet", full, cut_off)

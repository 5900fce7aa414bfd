-- How the latest attempt was ended, if it is the one of this fence and this worker.

local function ended_by(id, fence, worker)
  local task = load_task(id)
  if task and task.fence == fence and task.closed_fence == fence and task.worker == worker then
    return task.ending, task
  end
  return nil, task
end

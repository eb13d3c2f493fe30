-- Requests for wrk, each for a path drawn at random from a list: wrk -s ask.lua URL -- FILE SEED
-- FILE has one path a line.
local paths = {}

function init(args)
    for line in io.lines(args[1]) do
        paths[#paths + 1] = line
    end
    math.randomseed(tonumber(args[2]))
    for name, value in pairs({ ["Accept-Encoding"] = "gzip" }) do
        wrk.headers[name] = value
    end
end

function request()
    return wrk.format("GET", paths[math.random(#paths)])
end

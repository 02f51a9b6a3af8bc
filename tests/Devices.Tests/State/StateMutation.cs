using System.Text.Json.Nodes;

namespace Vmm.Devices.Tests.State;

/// <summary>Changes a saved state at random places, as a hostile one would be.</summary>
internal static class StateMutation
{
    private static readonly ulong[] Numbers =
        [0, 1, 2, 3, 4, 7, 8, 15, 16, 63, 64, 128, 255, 256, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fff_ffff, 0xffff_ffff, 1UL << 63, ulong.MaxValue];

    public static byte[] Mutate(byte[] state, Random random)
    {
        JsonNode root = JsonNode.Parse(state)!;
        for (int i = random.Next(1, 4); i > 0; i--)
        {
            var places = new List<(JsonNode Parent, object Key)>();
            Collect(root, places);
            if (places.Count == 0)
            {
                break;
            }

            (JsonNode parent, object key) = places[random.Next(places.Count)];
            JsonNode? old = key is string name ? parent[name] : parent[(int)key];
            switch (random.Next(12))
            {
                case 0 when key is string field:
                    ((JsonObject)parent).Remove(field);
                    continue;
                case 0:
                    ((JsonArray)parent).RemoveAt((int)key);
                    continue;
                case 1 when parent is JsonArray list:
                    list.Add(old?.DeepClone());
                    continue;
                case 1 when parent is JsonObject fields:
                    fields["x" + random.Next(9)] = 1;
                    continue;
            }

            JsonNode? now = Change(old, random);
            if (key is string field2)
            {
                parent[field2] = now;
            }
            else
            {
                parent[(int)key] = now;
            }
        }

        return System.Text.Encoding.UTF8.GetBytes(root.ToJsonString());
    }

    private static JsonNode? Change(JsonNode? old, Random random)
    {
        if (old is JsonValue value && random.Next(10) != 0)
        {
            if (value.TryGetValue(out bool flag))
            {
                return !flag;
            }

            if (value.TryGetValue(out ulong number))
            {
                return random.Next(4) switch
                {
                    0 => number ^ (1UL << random.Next(64)),
                    1 => unchecked(number + (ulong)random.Next(-2, 3)),
                    2 => (ulong)random.NextInt64(),
                    _ => Numbers[random.Next(Numbers.Length)],
                };
            }

            if (value.TryGetValue(out string? text))
            {
                byte[] bytes;
                try
                {
                    bytes = Convert.FromBase64String(text);
                }
                catch (FormatException)
                {
                    return text + "x";
                }

                if (bytes.Length > 0 && random.Next(4) != 0)
                {
                    for (int i = random.Next(1, 5); i > 0; i--)
                    {
                        bytes[random.Next(bytes.Length)] = random.Next(3) switch { 0 => 0, 1 => 0xff, _ => (byte)random.Next(256) };
                    }
                }
                else
                {
                    Array.Resize(ref bytes, random.Next(bytes.Length + 3));
                }

                return Convert.ToBase64String(bytes);
            }
        }

        return random.Next(6) switch
        {
            0 => null,
            1 => "text",
            2 => new JsonArray(),
            3 => new JsonObject(),
            4 => -1,
            _ => Numbers[random.Next(Numbers.Length)],
        };
    }

    private static void Collect(JsonNode node, List<(JsonNode, object)> places)
    {
        if (node is JsonObject fields)
        {
            foreach ((string name, JsonNode? inner) in fields)
            {
                places.Add((node, name));
                if (inner is not null)
                {
                    Collect(inner, places);
                }
            }
        }
        else if (node is JsonArray list)
        {
            for (int i = 0; i < list.Count; i++)
            {
                places.Add((node, i));
                if (list[i] is { } inner)
                {
                    Collect(inner, places);
                }
            }
        }
    }
}

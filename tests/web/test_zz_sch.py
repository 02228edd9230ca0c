import asyncio, os, json
async def test_run(served):
    A="/v1/admin"
    _, d = await served.call("POST", A+"/integration-catalog/webhook/install", {"name":"x","config":{"url":"http://127.0.0.1:9/x"}})
    await served.call("POST","/v1/events",{"event":"purchase","event_id":"e1"})
    (e,)=(await served.call("GET",A+"/events"))[1]["items"]; (dl,)=(await served.call("GET",A+"/deliveries"))[1]["items"]
    _, k = await served.call("POST",A+"/keys",{"label":"x","scopes":["ingest"]})
    args=os.environ.get("SCH_ARGS","").split()
    if os.environ.get("SCH_KEY","1")=="1": args+=["-H",f"Authorization: Bearer {served.keys.admin_key}"]
    open("/tmp/sch.toml","w").write(f'[parameters]\n"path.destination_id"="{d["id"]}"\n"path.key_id"="{k["id"]}"\n"path.connector"="webhook"\n"path.event"="{e["id"]}"\n"path.delivery"="{dl["id"]}"\n')
    p=await asyncio.create_subprocess_exec(".venv/bin/schemathesis","--config-file","/tmp/sch.toml","run",served.url+"/openapi.json","--no-color","-w","2",*args,stdout=open("/tmp/sch.txt","w"),stderr=asyncio.subprocess.STDOUT)
    await p.wait()
    print("rc",p.returncode)

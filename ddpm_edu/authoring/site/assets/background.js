// 一件要做几秒的活写成生成器，一小段一小段地做：在 Worker 里做，起不来时就在页面里做，页面都不会卡住
"use strict";

// 收到 {job, ticket, …} 就开始 jobs[job]，放下手里的；job 是 null 就只放下。每做一段，把它交出的东西连同 ticket 发出去
function workbench(jobs, post) {
  let current = null;
  return message => {
    const work = current = message.job ? jobs[message.job](message) : null;
    const step = () => {
      if (work !== current) return;
      const {value, done} = work.next();
      if (value) post({...value, ticket: message.ticket});
      if (!done) setTimeout(step);
    };
    if (work) setTimeout(step);
  };
}

// 打开后台，返回 {start(job, 内容), stop()}；source 是 Worker 里的全部源码，里面有 JOBS
// receive(交出的东西) 只收当前这件活的；failed(错误) 是活做不下去时
function openBackground(source, receive, failed) {
  const accept = message => { if (message.ticket === ticket) receive(message); };
  let ticket = 0, send;
  try {
    const tail = "\nconst handle = workbench(JOBS, message => postMessage(message)); onmessage = event => handle(event.data);";
    const worker = new Worker(URL.createObjectURL(new Blob([source, tail], {type: "text/javascript"})));
    worker.onmessage = event => accept(event.data);
    worker.onerror = event => failed(event.message);
    send = message => worker.postMessage(message);
  } catch {
    send = workbench(JOBS, accept);
  }
  return {
    start: (job, content) => send({...content, job, ticket: ++ticket}),
    stop: () => send({job: null, ticket: ++ticket}),
  };
}
